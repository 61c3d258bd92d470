// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.CheckpointRequest;
import dev.rekindle.CheckpointResult;
import dev.rekindle.Rekindle;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "checkpoint",
        aliases = "dump",
        mixinStandardHelpOptions = true,
        description = "Dump a process tree into a folder.")
final class CheckpointCommand implements Callable<Integer> {
    @Mixin
    private Settings settings;

    @Mixin
    private RunOptions options;

    @Mixin
    private DumpOptions dump;

    @Mixin
    private ParkOption park;

    @Mixin
    private ParentOption parent;

    @Mixin
    private Output output;

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

    private void validate() {
        options.validate();
        dump.validate();
        if (leaveRunning && leaveStopped) {
            throw new IllegalArgumentException("--leave-running and --leave-stopped: give one of the two");
        }
        if (park.inPool() && (leaveRunning || leaveStopped)) {
            throw new IllegalArgumentException(
                    "--park device, pinned and ephemeral are for a tree that ends: one that is left running or stopped"
                            + " keeps its device memory");
        }
    }

    /** What {@code --json} prints. */
    record Document(long pid, Path directory, List<Path> removedLinks, RunView run) {}

    @Override
    public Integer call() throws IOException {
        validate();
        try (Rekindle rekindle = settings.open();
                Progress progress = new Progress("checkpoint", output.err())) {
            CheckpointRequest.Builder request = CheckpointRequest.builder(pid, directory)
                    .leaveRunning(leaveRunning)
                    .leaveStopped(leaveStopped)
                    .timeout(Duration.ofSeconds(timeout));
            dump.apply(options.tree(), request);
            park.apply(request);
            parent.apply(request);
            options.apply(request, progress);
            dump.note(options.tree(), output);
            try (LinkRemaps earlier = options.tree().linkRemap() ? LinkRemaps.setAside(directory) : LinkRemaps.none()) {
                CheckpointResult result = rekindle.checkpoint(request.build());
                earlier.remove().forEach(problem -> output.note("rekindle: " + problem));
                progress.finish();
                park.note(result.statistics(), output);
                output.print(
                        new Document(pid, directory, earlier.files(), RunView.of(result.statistics())),
                        out -> RunReport.print(result.statistics(), options, out),
                        "the checkpoint in " + directory + " is complete");
            }
            return 0;
        }
    }
}
