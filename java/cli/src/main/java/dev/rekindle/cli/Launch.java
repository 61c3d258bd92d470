// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.ErrorCode;
import java.io.File;
import java.io.IOException;
import java.lang.ProcessBuilder.Redirect;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Where and with what a program is started.
 *
 * @param directory the folder that it runs in, or null for this one
 * @param variables of its environment, besides those of this program
 * @param output where its output goes, at the end of what is there
 * @param errors where its errors go, or null for with its output
 */
record Launch(
        @Nullable Path directory,
        Map<String, String> variables,
        Path output,
        @Nullable Path errors) {
    /** Refuses what could not be written to. */
    ProcessBuilder builder(List<String> words) {
        var builder = new ProcessBuilder(words);
        if (directory != null) {
            builder.directory(directory.toFile());
        }
        builder.environment().putAll(variables);
        builder.redirectOutput(append(output, "--output"));
        if (errors == null) {
            builder.redirectErrorStream(true);
        } else {
            builder.redirectError(append(errors, "--error"));
        }
        return builder;
    }

    private static Redirect append(Path file, String option) {
        Path folder = file.getParent();
        if (folder == null || !Files.isDirectory(folder) || Files.isDirectory(file)) {
            throw new IllegalArgumentException("output cannot go to " + file + ": name a file in a folder that exists");
        }
        try {
            // What cannot be made is named here; to open a pipe would wait for its reader.
            if (!Files.exists(file) || Files.isRegularFile(file)) {
                Files.write(file, new byte[0], StandardOpenOption.CREATE, StandardOpenOption.APPEND);
            }
        } catch (IOException denied) {
            var refusal = new CommandException(
                    ErrorCode.PERMISSION,
                    "output cannot go to " + file + ": name a file that can be written to with " + option);
            refusal.initCause(denied);
            throw refusal;
        }
        return Redirect.appendTo(file.toFile());
    }

    /** As the shell finds it; what starts it, setsid, would only say so in its output. */
    static Path findProgram(String name, @Nullable Path directory, Map<String, String> variables) {
        Path folder = directory == null ? Path.of("") : directory;
        if (!Files.isDirectory(folder.toAbsolutePath())) {
            throw new IllegalArgumentException("there is no folder " + folder + " to run in");
        }
        Stream<Path> candidates = name.contains("/")
                ? Stream.of(folder.resolve(name))
                : Stream.of(variables
                                .getOrDefault("PATH", System.getenv().getOrDefault("PATH", "/usr/bin:/bin"))
                                .split(File.pathSeparator, -1))
                        .map(place -> folder.resolve(place).resolve(name));
        Optional<Path> found = candidates
                .filter(file -> Files.isRegularFile(file) && Files.isExecutable(file))
                .findFirst();
        return found.orElseThrow(() -> new IllegalArgumentException(
                "there is no program " + name + (name.contains("/") ? "" : " in PATH") + " that can be run"));
    }
}
