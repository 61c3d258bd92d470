// SPDX-License-Identifier: MIT
package dev.rekindle;

/**
 * A checkpoint was truncated or altered; the message names the file. Any threads may use it, as every
 * {@link RekindleException}.
 */
public final class CorruptImageException extends RekindleException {
    private static final long serialVersionUID = 1;

    CorruptImageException(Failure failure) {
        super(failure, null);
    }
}
