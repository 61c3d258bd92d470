// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;

/** Where a pool keeps what images hold of device memory. */
public enum Tier {
    /** In device memory, which the next restore takes. */
    DEVICE,
    /**
     * In pinned memory of the host, which restores copy from, any number of them; as far as the pool's {@code
     * REKINDLE_PINNED_BUDGET} has room.
     */
    PINNED;

    int code() {
        return this == PINNED ? RekindleNative.REKINDLE_TIER_PINNED() : RekindleNative.REKINDLE_TIER_DEVICE();
    }

    static Tier of(int code) {
        return code == RekindleNative.REKINDLE_TIER_PINNED() ? PINNED : DEVICE;
    }
}
