// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.CheckpointRequest;
import dev.rekindle.CheckpointResult;
import dev.rekindle.Rekindle;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

@Command(name = "checkpoint", mixinStandardHelpOptions = true, description = "Dump a process tree into a folder.")
final class CheckpointCommand implements Callable<Integer> {
    @Spec
    private CommandSpec spec;

    @Mixin
    private Settings settings;

    @Mixin
    private RunOptions options;

    @Parameters(index = "0", paramLabel = "PID", description = "Root of the tree.")
    private long pid;

    @Parameters(index = "1", paramLabel = "DIR", description = "Where the images go.")
    private Path directory;

    @Option(
            names = {"-R", "--leave-running"},
            description = "Let the tree go on running.")
    private boolean leaveRunning;

    @Option(
            names = {"-s", "--leave-stopped"},
            description = "Leave the tree stopped.")
    private boolean leaveStopped;

    @Option(names = "--timeout", paramLabel = "SECONDS", description = "How long stopping the tree may take.")
    private long timeout;

    @Override
    public Integer call() {
        try (Rekindle rekindle = settings.open();
                Progress progress = new Progress("checkpoint")) {
            CheckpointRequest.Builder request = CheckpointRequest.builder(pid, directory)
                    .leaveRunning(leaveRunning)
                    .leaveStopped(leaveStopped)
                    .timeout(Duration.ofSeconds(timeout));
            options.apply(request, progress);
            CheckpointResult result = rekindle.checkpoint(request.build());
            progress.finish();
            if (!options.quiet()) {
                RunReport.print(result.statistics(), spec.commandLine().getOut());
            }
            return 0;
        }
    }
}
