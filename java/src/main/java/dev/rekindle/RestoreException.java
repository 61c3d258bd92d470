// SPDX-License-Identifier: MIT
package dev.rekindle;

/**
 * A restore failed; it left no process behind and changed no image. Any threads may use it, as every
 * {@link RekindleException}.
 */
public final class RestoreException extends RekindleException {
    private static final long serialVersionUID = 1;

    RestoreException(Failure failure) {
        super(failure, null);
    }
}
