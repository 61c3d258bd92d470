// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.Closeable;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.stream.Stream;

/** A folder that goes when it is closed, with all that is in it. It is where TMPDIR says, as that of other programs. */
record TemporaryFolder(Path path) implements Closeable {
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
                Files.deleteIfExists(file);
            }
        }
    }
}
