// SPDX-License-Identifier: MIT
package dev.rekindle;

/**
 * A folder holds no checkpoint, or what was named is no folder. One that holds a damaged checkpoint is a
 * {@link CorruptImageException}. Any threads may use it, as every {@link RekindleException}.
 */
public final class NoImageException extends RekindleException {
    private static final long serialVersionUID = 1;

    NoImageException(Failure failure) {
        super(failure, null);
    }
}
