// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.ErrorCode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;

/**
 * Which process a restore or a swap has brought back from a folder: its pid, and when it started, as another process may have the pid later.
 */
final class ServicePid {
    static final String FILE = "rekindle-service.pid";

    private ServicePid() {}

    static void write(Path folder, long pid) throws IOException {
        Files.writeString(folder.resolve(FILE), pid + " " + start(pid).orElse("0") + "\n");
    }

    static void remove(Path folder) throws IOException {
        Files.deleteIfExists(folder.resolve(FILE));
    }

    /** The process that runs from this folder's images. */
    static long find(Path folder) throws IOException {
        Path file = folder.resolve(FILE);
        if (Files.exists(file)) {
            String[] words =
                    Files.readString(file, StandardCharsets.ISO_8859_1).strip().split(" ", -1);
            if (words.length == 2 && words[0].matches("\\d{1,10}")) {
                long pid = Long.parseLong(words[0]);
                if (start(pid).equals(Optional.of(words[1]))) {
                    return pid;
                }
            }
        }
        throw new CommandException(
                ErrorCode.NO_SUCH_PROCESS,
                "no process runs that was restored from " + folder + " by this program: name it with --pid");
    }

    private static Optional<String> start(long pid) {
        return ProcessStat.of(pid).map(ProcessStat::start);
    }
}
