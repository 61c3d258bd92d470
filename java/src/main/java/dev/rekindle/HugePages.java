// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;

/** How CRIU places restored memory on huge pages, where it has that option. */
public enum HugePages {
    /** As CRIU does on its own. */
    DEFAULT,
    /** Where the program had asked for them. */
    ADVISED,
    /** Everywhere: faster, but sparse memory takes more room. */
    ALWAYS,
    /** Nowhere. */
    NEVER;

    int code() {
        return switch (this) {
            case DEFAULT -> RekindleNative.REKINDLE_HUGEPAGES_DEFAULT();
            case ADVISED -> RekindleNative.REKINDLE_HUGEPAGES_ADVISED();
            case ALWAYS -> RekindleNative.REKINDLE_HUGEPAGES_ALWAYS();
            case NEVER -> RekindleNative.REKINDLE_HUGEPAGES_NEVER();
        };
    }
}
