// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.ProgressListener;
import dev.rekindle.RunRequestBuilder;
import java.nio.file.Path;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Options that checkpoint and restore share: of the tree, and of where and how much is said. */
final class RunOptions {
    @Mixin
    private TreeOptions tree;

    @Option(
            names = {"-W", "--work-dir"},
            paramLabel = "DIR",
            description = "Where logs and statistics go.")
    private @Nullable Path workDirectory;

    @Option(
            names = {"-o", "--log-file"},
            paramLabel = "NAME",
            description = "Name of CRIU's log.")
    private @Nullable String logFile;

    @Option(names = "--log-level", paramLabel = "1..4", description = "How much CRIU logs.", defaultValue = "4")
    private int logLevel;

    @Option(
            names = {"-q", "--quiet"},
            description = "No progress, and no statistics.")
    private boolean quiet;

    @Option(names = "--print-stats", description = "Print all statistics of the run, phase by phase.")
    private boolean printStatistics;

    /** The name of CRIU's log where that lies beside the images and has a name of its own. */
    Optional<String> logBesideImages() {
        return Optional.ofNullable(workDirectory == null ? logFile : null);
    }

    TreeOptions tree() {
        return tree;
    }

    boolean quiet() {
        return quiet;
    }

    boolean printStatistics() {
        return printStatistics;
    }

    /** Before anything is done. */
    void validate() {
        tree.validate();
        if (quiet && printStatistics) {
            throw new IllegalArgumentException(
                    "--quiet prints no statistics, and --print-stats all: give one of the two");
        }
    }

    void apply(RunRequestBuilder<?> request, ProgressListener listener) {
        tree.apply(request);
        request.logLevel(logLevel);
        if (workDirectory != null) {
            request.workDirectory(workDirectory);
        }
        if (logFile != null) {
            request.logFile(logFile);
        }
        if (!quiet) {
            request.progress(listener);
        }
    }
}
