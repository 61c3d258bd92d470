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
import java.lang.reflect.Field;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

@Command(
        name = "check",
        mixinStandardHelpOptions = true,
        description = {
            "Say whether this machine can checkpoint and restore.",
            "With PID: say what its tree holds, and what of the following is in the way of a checkpoint with these "
                    + "options, without stopping anything; the exit status is 1 where something is.",
            "It looks for an io_uring; a tracer; a root that leads no session; terminals and unix sockets whose other end "
                    + "is outside of the tree (sockets of this network namespace); TCP connections; file locks; deleted "
                    + "files that are too big or have another name; files of another mount namespace; and where CUDA is "
                    + "used: SIGSTOP, device memory of another process or out of its place, an agent that is needed and "
                    + "lost, the multi-process service, and CUDA that another program has suspended.",
            "A checkpoint looks for the same first. CRIU may still refuse what is none of these; its log says so then."
        })
final class CheckCommand implements Callable<Integer> {
    @Spec
    private CommandSpec spec;

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
        options.validate();
        dump.validate();
        if (pid == null) {
            withoutPid();
        }
        try (Rekindle rekindle = settings.open()) {
            if (pid != null) {
                return inspect(rekindle, pid);
            }
            Optional<RekindleException> missing = rekindle.check();
            if (missing.isPresent()) {
                throw missing.get();
            }
            output.print(new Document(true), out -> out.println("looks good"));
            return 0;
        }
    }

    /** What would be ignored is refused. */
    private void withoutPid() {
        for (OptionSpec option : spec.commandLine().getParseResult().matchedOptions()) {
            if (!(option.userObject() instanceof Field field)
                    || (field.getDeclaringClass() != Settings.class && field.getDeclaringClass() != Output.class)) {
                throw new IllegalArgumentException(
                        option.longestName() + " is of a checkpoint: give the PID of its tree too");
            }
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
            out.println("nothing of what was looked for is in the way of a checkpoint");
        }
    }
}
