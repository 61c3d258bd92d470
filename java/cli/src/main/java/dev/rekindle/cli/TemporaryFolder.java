// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.Closeable;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.stream.Stream;

/** A folder that goes when it is closed, with all that is in it. It is where TMPDIR says, as that of other programs. */
final class TemporaryFolder implements Closeable {
    private final Path path;
    private boolean keepsLogs;

    private TemporaryFolder(Path path) {
        this.path = path;
    }

    Path path() {
        return path;
    }

    /** What ends in .log stays, and the folders that it is in. Returns whether there is any. */
    boolean keepLogs() throws IOException {
        try (Stream<Path> paths = Files.walk(path)) {
            keepsLogs = paths.anyMatch(file -> file.toString().endsWith(".log"));
        }
        return keepsLogs;
    }

    static TemporaryFolder make(String prefix) throws IOException {
        String place = System.getenv("TMPDIR");
        return new TemporaryFolder(
                place == null || place.isEmpty()
                        ? Files.createTempDirectory(prefix)
                        : Files.createTempDirectory(Path.of(place), prefix));
    }

    @Override
    public void close() throws IOException {
        try (Stream<Path> paths = Files.walk(path)) {
            for (Path file : paths.sorted(Comparator.reverseOrder()).toList()) {
                if (!keepsLogs || !(hasLog(file) || file.toString().endsWith(".log"))) {
                    Files.deleteIfExists(file);
                }
            }
        }
    }

    /** What goes has gone from it by now. */
    private static boolean hasLog(Path file) throws IOException {
        if (!Files.isDirectory(file, LinkOption.NOFOLLOW_LINKS)) {
            return false;
        }
        try (Stream<Path> files = Files.list(file)) {
            return files.findAny().isPresent();
        }
    }
}
