// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.ProgressListener;
import dev.rekindle.RunRequestBuilder;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** Options that checkpoint and restore share, under CRIU's names. */
final class RunOptions {
    @Option(
            names = {"-j", "--shell-job"},
            description = "Allow a tree that is part of a terminal session.")
    private boolean shellJob;

    @Option(names = "--tcp-established", description = "Allow established TCP connections.")
    private boolean tcpEstablished;

    @Option(names = "--tcp-close", description = "Close TCP connections.")
    private boolean tcpClose;

    @Option(
            names = {"-l", "--file-locks"},
            description = "Handle file locks.")
    private boolean fileLocks;

    @Option(names = "--link-remap", description = "Allow links for files that were deleted while open.")
    private boolean linkRemap;

    @Option(names = "--enable-external-masters", description = "Allow mounts from outside.")
    private boolean externalMasters;

    @Option(
            names = {"-x", "--ext-unix-sk"},
            description = "Allow unix sockets that end outside the tree.")
    private boolean externalUnixSockets;

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

    @Option(names = "--criu-argument", paramLabel = "ARG", description = "A further argument for criu, repeatable.")
    private List<String> arguments = List.of();

    @Option(
            names = {"-q", "--quiet"},
            description = "No progress bar and no table.")
    private boolean quiet;

    boolean quiet() {
        return quiet;
    }

    void apply(RunRequestBuilder<?> request, ProgressListener listener) {
        request.shellJob(shellJob);
        request.tcpEstablished(tcpEstablished);
        request.tcpClose(tcpClose);
        request.fileLocks(fileLocks);
        request.linkRemap(linkRemap);
        request.externalMasters(externalMasters);
        request.externalUnixSockets(externalUnixSockets);
        request.logLevel(logLevel);
        if (workDirectory != null) {
            request.workDirectory(workDirectory);
        }
        if (logFile != null) {
            request.logFile(logFile);
        }
        arguments.forEach(request::argument);
        if (!quiet) {
            request.progress(listener);
        }
    }
}
