// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import java.util.Map;

/** The phases of a checkpoint or restore. */
public enum PhaseKind {
    /** Outside any phase, or not known. */
    NONE,
    /** Start of the pool and its contexts. Only where something went wrong; it is not timed. */
    START,
    /** Checkpoint: wait for GPU work that was submitted. */
    LOCK,
    /** Checkpoint: device memory to the GPU image. */
    COPY_OUT,
    /** Checkpoint: the process releases its physical device memory. */
    RELEASE,
    /** Checkpoint: the driver saves its own state. */
    DRIVER_CHECKPOINT,
    /** CRIU's own work, end to end. Only what is under way and where something went wrong; it is not timed. */
    CRIU,
    /** Restore: GPU image to device memory. */
    PREFETCH,
    /** Restore: the driver rebuilds its own state. */
    DRIVER_RESTORE,
    /** Restore: memory is mapped at its old addresses. */
    MAP,
    /** Restore: the process is there, and waits for what of its contents is not yet. */
    WAIT,
    /** Checkpoint: the GPU image is read back from the disk. */
    VERIFY,
    /** Checkpoint: the process stands still, from its lock until CRIU is about to let it go or end it. Other phases are part of it. */
    STAND,
    /** Checkpoint: device memory to the GPU image while the process still runs. */
    COPY_AHEAD,
    /** Checkpoint: which of the memory that was copied ahead has changed. */
    COMPARE;

    /** Apart from the enum, which must load where native access is denied. */
    private static final class Codes {
        static final Map<Integer, PhaseKind> VALUES = Map.ofEntries(
                Map.entry(RekindleNative.REKINDLE_PHASE_NONE(), NONE),
                Map.entry(RekindleNative.REKINDLE_PHASE_START(), START),
                Map.entry(RekindleNative.REKINDLE_PHASE_LOCK(), LOCK),
                Map.entry(RekindleNative.REKINDLE_PHASE_COPY_OUT(), COPY_OUT),
                Map.entry(RekindleNative.REKINDLE_PHASE_RELEASE(), RELEASE),
                Map.entry(RekindleNative.REKINDLE_PHASE_DRIVER_CHECKPOINT(), DRIVER_CHECKPOINT),
                Map.entry(RekindleNative.REKINDLE_PHASE_CRIU(), CRIU),
                Map.entry(RekindleNative.REKINDLE_PHASE_PREFETCH(), PREFETCH),
                Map.entry(RekindleNative.REKINDLE_PHASE_DRIVER_RESTORE(), DRIVER_RESTORE),
                Map.entry(RekindleNative.REKINDLE_PHASE_MAP(), MAP),
                Map.entry(RekindleNative.REKINDLE_PHASE_WAIT(), WAIT),
                Map.entry(RekindleNative.REKINDLE_PHASE_VERIFY(), VERIFY),
                Map.entry(RekindleNative.REKINDLE_PHASE_STAND(), STAND),
                Map.entry(RekindleNative.REKINDLE_PHASE_COPY_AHEAD(), COPY_AHEAD),
                Map.entry(RekindleNative.REKINDLE_PHASE_COMPARE(), COMPARE));
    }

    static PhaseKind of(int code) {
        return Codes.VALUES.getOrDefault(code, NONE);
    }
}
