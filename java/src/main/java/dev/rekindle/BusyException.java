// SPDX-License-Identifier: MIT
package dev.rekindle;

/**
 * Another run, or another program, has the process or the folder; the message says who. Nothing was changed. Any threads may
 * use it, as every {@link RekindleException}.
 */
public final class BusyException extends RekindleException {
    private static final long serialVersionUID = 1;

    BusyException(Failure failure) {
        super(failure, null);
    }
}
