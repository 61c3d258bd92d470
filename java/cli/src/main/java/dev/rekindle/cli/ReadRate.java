// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.nio.file.Path;
import java.util.OptionalLong;

/** How fast a disk gives what is on it. */
final class ReadRate {
    private static final long BYTES = 16 << 20;

    private ReadRate() {}

    /**
     * In bytes a second, by the beginning of a file, which does not come from memory; nothing where that cannot be had, as in
     * tmpfs, or where the file is small. By dd, as the JDK has no public way to go past the page cache.
     */
    static OptionalLong measure(Path file) {
        if (file.toFile().length() < BYTES) {
            return OptionalLong.empty();
        }
        long start = System.nanoTime();
        boolean read = Machine.succeeds("dd", "if=" + file, "of=/dev/null", "bs=8M", "count=2", "iflag=direct");
        return read ? OptionalLong.of((long) (BYTES * 1e9 / (System.nanoTime() - start))) : OptionalLong.empty();
    }
}
