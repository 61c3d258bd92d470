// SPDX-License-Identifier: MIT
package dev.rekindle;

import org.jspecify.annotations.Nullable;

/**
 * The native library could not be loaded, is of another version, or native access is denied to this program. Any
 * threads may use it, as every {@link RekindleException}.
 */
public final class NativeLibraryException extends RekindleException {
    private static final long serialVersionUID = 1;

    NativeLibraryException(String message, @Nullable Throwable cause) {
        super(Failure.of(ErrorCode.NATIVE_LIBRARY, message), cause);
    }
}
