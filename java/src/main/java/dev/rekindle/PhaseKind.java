// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;

/** The phases of a checkpoint or restore. */
public enum PhaseKind {
    /** Outside any phase, or not known. */
    NONE(RekindleNative.REKINDLE_PHASE_NONE()),
    /** Start of the pool and its contexts. */
    START(RekindleNative.REKINDLE_PHASE_START()),
    /** Checkpoint: wait for GPU work that was submitted. */
    LOCK(RekindleNative.REKINDLE_PHASE_LOCK()),
    /** Checkpoint: device memory to the GPU image. */
    COPY_OUT(RekindleNative.REKINDLE_PHASE_COPY_OUT()),
    /** Checkpoint: the process releases its physical device memory. */
    RELEASE(RekindleNative.REKINDLE_PHASE_RELEASE()),
    /** Checkpoint: the driver saves its own state. */
    DRIVER_CHECKPOINT(RekindleNative.REKINDLE_PHASE_DRIVER_CHECKPOINT()),
    /** CRIU's own work, end to end. */
    CRIU(RekindleNative.REKINDLE_PHASE_CRIU()),
    /** Restore: GPU image to device memory. */
    PREFETCH(RekindleNative.REKINDLE_PHASE_PREFETCH()),
    /** Restore: the driver rebuilds its own state. */
    DRIVER_RESTORE(RekindleNative.REKINDLE_PHASE_DRIVER_RESTORE()),
    /** Restore: memory is mapped at its old addresses. */
    MAP(RekindleNative.REKINDLE_PHASE_MAP());

    private static final PhaseKind[] VALUES = values();

    private final int code;

    PhaseKind(int code) {
        this.code = code;
    }

    static PhaseKind of(int code) {
        for (PhaseKind value : VALUES) {
            if (value.code == code) {
                return value;
            }
        }
        return NONE;
    }
}
