// SPDX-License-Identifier: MIT
package dev.rekindle;

/**
 * A folder holds no checkpoint that can be read, or one that was truncated or altered. Any threads may use it, as
 * every {@link RekindleException}.
 */
public final class CorruptImageException extends RekindleException {
    private static final long serialVersionUID = 1;

    CorruptImageException(Failure failure) {
        super(failure, null);
    }
}
