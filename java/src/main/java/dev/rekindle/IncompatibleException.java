// SPDX-License-Identifier: MIT
package dev.rekindle;

/**
 * This machine, its driver, GPU or CRIU cannot do it, the image was made for another kind, or something of the process is in
 * the way of a dump. Any threads may use it,
 * as every {@link RekindleException}.
 */
public final class IncompatibleException extends RekindleException {
    private static final long serialVersionUID = 1;

    IncompatibleException(Failure failure) {
        super(failure, null);
    }
}
