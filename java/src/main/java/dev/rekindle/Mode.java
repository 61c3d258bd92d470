// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;

/** How the device memory of a process travels. */
public enum Mode {
    /** The process does not use CUDA. */
    NONE,
    /** Outside the process image: the fast way. */
    OFFLOAD,
    /** In the process image, saved by the driver itself. */
    NATIVE;

    static Mode of(int mode) {
        if (mode == RekindleNative.REKINDLE_MODE_OFFLOAD()) {
            return OFFLOAD;
        }
        return mode == RekindleNative.REKINDLE_MODE_NATIVE() ? NATIVE : NONE;
    }
}
