// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;
import java.util.stream.Stream;

/** What the system says of itself. What cannot be read is as if it were not there. */
final class Machine {
    private static final String FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    static final Duration LIMIT = Duration.ofSeconds(20);

    private Machine() {}

    static Optional<String> text(String file) {
        try {
            return Optional.of(new String(Files.readAllBytes(Path.of(file)), StandardCharsets.UTF_8).strip());
        } catch (IOException missing) {
            return Optional.empty();
        }
    }

    /** What follows a heading in a file. */
    static Optional<String> line(String file, String heading) {
        return text(file).stream()
                .flatMap(String::lines)
                .filter(line -> line.startsWith(heading))
                .map(line -> line.substring(heading.length()).strip())
                .findFirst();
    }

    /** The first two numbers of a version, as one that can be compared. */
    static int version(String text) {
        String[] numbers = text.split("[^0-9]+", -1);
        int major = numbers.length > 0 && !numbers[0].isEmpty() ? Integer.parseInt(numbers[0]) : 0;
        int minor = numbers.length > 1 && !numbers[1].isEmpty() ? Integer.parseInt(numbers[1]) : 0;
        return major * 1000 + minor;
    }

    static boolean isRoot() {
        return line("/proc/self/status", "Uid:")
                .map(ids -> ids.split("\\s+", -1)[1].equals("0"))
                .orElse(false);
    }

    /** Where PATH has it, or the system keeps it. */
    static Optional<Path> program(String name) {
        String path = System.getenv().getOrDefault("PATH", "") + File.pathSeparator + FOLDERS;
        return Stream.of(path.split(File.pathSeparator, -1))
                .filter(folder -> !folder.isEmpty())
                .map(folder -> Path.of(folder, name))
                .filter(Files::isExecutable)
                .findFirst();
    }

    /** What a program prints on its standard output; nothing where it does not run, or does not end within the limit. */
    static Optional<String> output(String... command) {
        return output(LIMIT, command);
    }

    /** Through a file: whoever has inherited a pipe from the program could keep it open for longer than that runs. */
    static Optional<String> output(Duration limit, String... command) {
        try {
            Path file = Files.createTempFile("rekindle-", ".out");
            try {
                boolean ended = end(
                                builder(command).redirectOutput(file.toFile()).start(), limit)
                        .isPresent();
                return ended
                        ? Optional.of(new String(Files.readAllBytes(file), StandardCharsets.UTF_8))
                        : Optional.empty();
            } finally {
                Files.deleteIfExists(file);
            }
        } catch (IOException failure) {
            return Optional.empty();
        }
    }

    static boolean succeeds(String... command) {
        try {
            Process process = builder(command)
                    .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                    .start();
            return end(process, LIMIT).equals(Optional.of(0));
        } catch (IOException failure) {
            return false;
        }
    }

    /** Its exit value. One that does not end in time is killed, and not waited for, as a driver may hold it. */
    private static Optional<Integer> end(Process process, Duration limit) {
        try {
            if (process.waitFor(limit)) {
                return Optional.of(process.exitValue());
            }
        } catch (InterruptedException interrupt) {
            Thread.currentThread().interrupt();
        }
        process.destroyForcibly();
        return Optional.empty();
    }

    private static ProcessBuilder builder(String... command) {
        return new ProcessBuilder(command)
                .redirectInput(new File("/dev/null"))
                .redirectError(ProcessBuilder.Redirect.DISCARD);
    }

    static boolean processNamed(String beginning) {
        return ProcessHandle.allProcesses()
                .flatMap(process -> process.info().command().stream())
                .anyMatch(command ->
                        String.valueOf(Path.of(command).getFileName()).startsWith(beginning));
    }
}
