// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;

/**
 * How CRIU places restored memory on huge pages, where it has that option ({@code --restore-thp}). A huge page is only
 * used where the image has all of it.
 */
public enum HugePages {
    /** As CRIU does on its own. */
    DEFAULT,
    /** Where the program had asked for them. */
    ADVISED,
    /** Everywhere: faster, but what the program touches later can take more room. */
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
