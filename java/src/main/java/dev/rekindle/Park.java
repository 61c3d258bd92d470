// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import org.jspecify.annotations.Nullable;

/** Where a checkpoint leaves device memory for the next restore, beside the images that it writes. */
public enum Park {
    /** Nowhere else: the restore reads the images. */
    FILE,
    /**
     * Where it is, in the hands of a pool that lasts, until the next restore from the folder takes it without a copy, or
     * something else needs the room. {@link RunStatistics#residentBytes} says how much that was.
     */
    DEVICE,
    /**
     * In pinned memory of the host, in the hands of a pool that lasts and whose {@code REKINDLE_PINNED_BUDGET} has room for
     * it. Every restore from the folder copies from there. {@link RunStatistics#residentBytes} says how much that was.
     */
    PINNED,
    /**
     * As {@link #DEVICE}, and in no file: it makes room for nobody, and the checkpoint is lost where the pool ends or drops
     * it, and after the one restore that takes it. Where that cannot be, the images are written as ever.
     */
    EPHEMERAL;

    static int code(@Nullable Park park) {
        return switch (park) {
            case null -> RekindleNative.REKINDLE_PARK_AS_CONFIGURED();
            case FILE -> RekindleNative.REKINDLE_PARK_FILE();
            case DEVICE -> RekindleNative.REKINDLE_PARK_DEVICE();
            case PINNED -> RekindleNative.REKINDLE_PARK_PINNED();
            case EPHEMERAL -> RekindleNative.REKINDLE_PARK_EPHEMERAL();
        };
    }
}
