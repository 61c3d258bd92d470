// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.CheckpointRequest;
import dev.rekindle.CudaState;
import dev.rekindle.InspectedProcess;
import dev.rekindle.Obstacle;
import dev.rekindle.ProcessInspection;
import dev.rekindle.Rekindle;
import dev.rekindle.RekindleException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;

@Command(
        name = "check",
        mixinStandardHelpOptions = true,
        description = {
            "Say whether this machine can checkpoint and restore.",
            "With PID: say what its tree holds, and everything that a checkpoint with these options would meet, without "
                    + "stopping it. The exit status is 1 where something is in the way."
        })
final class CheckCommand implements Callable<Integer> {
    @Mixin
    private Output output;

    @Mixin
    private Settings settings;

    @Mixin
    private RunOptions options;

    @Mixin
    private DumpOptions dump;

    @Parameters(index = "0", arity = "0..1", paramLabel = "PID", description = "Root of a tree.")
    private @Nullable Long pid;

    /** What {@code --json} prints; a machine that cannot is an error. */
    record Document(boolean usable) {}

    /** Likewise, with PID. */
    record Tree(boolean usable, List<InspectedProcess> processes, List<Obstacle> obstacles, Duration durationSeconds) {}

    @Override
    public Integer call() {
        try (Rekindle rekindle = settings.open()) {
            if (pid != null) {
                return inspect(rekindle, pid);
            }
            Optional<RekindleException> missing = rekindle.check();
            if (missing.isPresent()) {
                throw missing.get();
            }
            output.print(new Document(true), "looks good");
            return 0;
        }
    }

    private int inspect(Rekindle rekindle, long root) {
        CheckpointRequest.Builder request = CheckpointRequest.builder(root, Path.of("."));
        dump.apply(options.tree(), request);
        options.apply(request, (done, total, phase) -> {});
        ProcessInspection inspection = rekindle.inspect(request.build());
        output.print(
                new Tree(
                        inspection.obstacles().isEmpty(),
                        inspection.processes(),
                        inspection.obstacles(),
                        inspection.duration()),
                out -> print(inspection, out));
        return inspection.obstacles().isEmpty() ? 0 : ExitStatus.FAILED;
    }

    private static void print(ProcessInspection inspection, PrintWriter out) {
        Table table = new Table("PID", "PARENT", "NAME", "THREADS", "CUDA", "AGENT");
        for (InspectedProcess process : inspection.processes()) {
            table.row(
                    process.pid(),
                    process.parentPid(),
                    process.name(),
                    process.threads(),
                    Texts.lower(process.cuda()),
                    Texts.lower(process.agent()));
        }
        table.print(out);
        for (InspectedProcess process : inspection.processes()) {
            boolean usesCuda = process.cuda() != CudaState.NONE && process.cuda() != CudaState.LOADED;
            if (usesCuda && process.agentNote().isPresent()) {
                out.println("process %d (%s): %s"
                        .formatted(
                                process.pid(),
                                process.name(),
                                process.agentNote().get()));
            }
        }
        for (Obstacle obstacle : inspection.obstacles()) {
            out.println(obstacle.what());
            out.println("  " + obstacle.remedy());
        }
        if (inspection.obstacles().isEmpty()) {
            out.println("nothing is in the way of a checkpoint");
        }
    }
}
