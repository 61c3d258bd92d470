// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.File;
import java.lang.ProcessBuilder.Redirect;
import java.nio.file.Files;
import java.nio.file.Path;
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
        builder.redirectOutput(append(output));
        if (errors == null) {
            builder.redirectErrorStream(true);
        } else {
            builder.redirectError(append(errors));
        }
        return builder;
    }

    private static Redirect append(Path file) {
        Path folder = file.getParent();
        if (folder == null || !Files.isDirectory(folder) || Files.isDirectory(file)) {
            throw new IllegalArgumentException("output cannot go to " + file + ": name a file in a folder that exists");
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
