// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileChannel.MapMode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/** What the kernel keeps of files in memory. */
final class PageCache {
    private static final Path DROP = Path.of("/proc/sys/vm/drop_caches");
    private static final int PAGE = 4096;
    private static final int SAMPLES = 256;
    /** Of the samples: what programs that run meanwhile have read. */
    private static final int FEW = SAMPLES / 16;

    private PageCache() {}

    /** Drops all of it. Returns why the files are in memory still, or nothing where they are not, which is looked at. */
    static Optional<String> drop(List<Path> files) throws IOException {
        return drop(DROP, files);
    }

    static Optional<String> drop(Path control, List<Path> files) throws IOException {
        if (!Machine.succeeds("sync")) {
            return Optional.of("what is to be written to the disk did not get there in time");
        }
        try {
            Files.writeString(control, "3\n");
        } catch (IOException refused) {
            return Optional.of("the page cache could not be dropped: " + RekindleCommand.sentence(refused));
        }
        for (Path file : files) {
            if (isResident(file)) {
                return Optional.of(file + " is in memory although the page cache was dropped, as files in tmpfs are");
            }
        }
        return Optional.empty();
    }

    /** By pages from all over the file. */
    private static boolean isResident(Path file) throws IOException {
        try (FileChannel channel = FileChannel.open(file)) {
            long pages = channel.size() / PAGE;
            long step = Math.max(1, pages / SAMPLES);
            int resident = 0;
            int looked = 0;
            for (long page = 0; page < pages; page += step) {
                looked++;
                resident += channel.map(MapMode.READ_ONLY, page * PAGE, PAGE).isLoaded() ? 1 : 0;
            }
            return resident > Math.min(FEW, looked / 2);
        }
    }
}
