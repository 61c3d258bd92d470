// SPDX-License-Identifier: MIT
package dev.rekindle;

/**
 * A checkpoint, or a look at what is in its way, failed; the process goes on running as it was. Any threads may use it, as every
 * {@link RekindleException}.
 */
public final class CheckpointException extends RekindleException {
    private static final long serialVersionUID = 1;

    CheckpointException(Failure failure) {
        super(failure, null);
    }
}
