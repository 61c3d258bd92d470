// SPDX-License-Identifier: MIT
package dev.rekindle;

/**
 * Another process has a process id that the checkpoint needs; the message says which one, and whether it is a zombie.
 * Nothing was changed. Any threads may use it, as every {@link RekindleException}.
 */
public final class PidInUseException extends RekindleException {
    private static final long serialVersionUID = 1;

    PidInUseException(Failure failure) {
        super(failure, null);
    }
}
