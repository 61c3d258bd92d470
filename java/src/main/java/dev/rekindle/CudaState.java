// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import java.util.Map;

/** What a process does with CUDA. */
public enum CudaState {
    /** The driver is not loaded. */
    NONE,
    /** The driver is loaded and not in use. */
    LOADED,
    /** In use. */
    RUNNING,
    /** Somebody has locked it. A dump leaves it so. */
    LOCKED,
    /** Somebody has checkpointed it. A dump leaves it so. */
    CHECKPOINTED,
    /** The driver gave it up. */
    FAILED,
    /** Devices of the process that forked it are open or mapped, and it has no CUDA of its own. */
    INHERITED,
    /** In use, and the process cannot be asked now. */
    UNKNOWN;

    /** Apart from the enum, which must load where native access is denied. */
    private static final class Codes {
        static final Map<Integer, CudaState> VALUES = Map.ofEntries(
                Map.entry(RekindleNative.REKINDLE_CUDA_NONE(), NONE),
                Map.entry(RekindleNative.REKINDLE_CUDA_LOADED(), LOADED),
                Map.entry(RekindleNative.REKINDLE_CUDA_RUNNING(), RUNNING),
                Map.entry(RekindleNative.REKINDLE_CUDA_LOCKED(), LOCKED),
                Map.entry(RekindleNative.REKINDLE_CUDA_CHECKPOINTED(), CHECKPOINTED),
                Map.entry(RekindleNative.REKINDLE_CUDA_FAILED(), FAILED),
                Map.entry(RekindleNative.REKINDLE_CUDA_INHERITED(), INHERITED),
                Map.entry(RekindleNative.REKINDLE_CUDA_UNKNOWN(), UNKNOWN));
    }

    static CudaState of(int code) {
        return Codes.VALUES.getOrDefault(code, UNKNOWN);
    }
}
