// SPDX-License-Identifier: MIT
package dev.rekindle;

/** A warm pool could not be opened, reached or used. Any threads may use it, as every {@link RekindleException}. */
public final class PoolException extends RekindleException {
    private static final long serialVersionUID = 1;

    PoolException(Failure failure) {
        super(failure, null);
    }
}
