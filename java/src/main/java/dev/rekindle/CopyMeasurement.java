// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import java.nio.file.Path;
import java.util.Objects;
import java.util.Optional;

/**
 * One copy from the host to a device, to be measured. Immutable, so any threads may use it.
 *
 * <p>What is out of range {@link WarmPool#measure} refuses.
 *
 * @param device number of the device
 * @param source where the data comes from
 * @param workers copy workers, 1 to 64
 * @param chunkBytes size of a chunk, 2 to 64 MiB, in bytes
 * @param bytes how much to copy: at least 1, at most what the file has and what fits into the device's free memory
 * @param file the file to copy; empty for {@link Source#PINNED}
 */
public record CopyMeasurement(
        int device, Source source, int workers, long chunkBytes, long bytes, Optional<Path> file) {
    /**
     * Checks that nothing is null.
     *
     * @param device number of the device
     * @param source where the data comes from
     * @param workers copy workers, 1 to 64
     * @param chunkBytes size of a chunk, 2 to 64 MiB, in bytes
     * @param bytes how much to copy: at least 1, at most what the file has and what fits into the device's free memory
     * @param file the file to copy; empty for {@link Source#PINNED}
     */
    public CopyMeasurement {
        Objects.requireNonNull(source, "source");
        Objects.requireNonNull(file, "file");
    }

    /** Where the data comes from. */
    public enum Source {
        /** Pinned host memory, one stream: the machine's limit. */
        PINNED,
        /** A file in the page cache, through the copy engine. */
        PAGE_CACHE,
        /** A file whose pages were dropped from the cache first. */
        DISK;

        int code() {
            return switch (this) {
                case PINNED -> RekindleNative.REKINDLE_COPY_PINNED();
                case PAGE_CACHE -> RekindleNative.REKINDLE_COPY_PAGE_CACHE();
                case DISK -> RekindleNative.REKINDLE_COPY_DISK();
            };
        }
    }
}
