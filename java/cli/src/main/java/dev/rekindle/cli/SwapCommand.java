// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.CheckpointImage;
import dev.rekindle.CheckpointRequest;
import dev.rekindle.ErrorCode;
import dev.rekindle.ImageProcess;
import dev.rekindle.PidInUseException;
import dev.rekindle.Rekindle;
import dev.rekindle.RekindleException;
import dev.rekindle.RestoreRequest;
import dev.rekindle.RestoredProcess;
import dev.rekindle.RunStatistics;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "swap",
        mixinStandardHelpOptions = true,
        description =
                "Put the service that runs from folder A away, and bring back the one in folder B. Where B does not"
                        + " come back, or does not get well, A does.")
final class SwapCommand implements Callable<Integer> {
    private static final Duration END_LIMIT = Duration.ofSeconds(30);

    @Mixin
    private Settings settings;

    @Mixin
    private RunOptions options;

    @Mixin
    private DumpOptions dump;

    @Mixin
    private ParkOption parkOption;

    @Mixin
    private ParentOption parent;

    @Mixin
    private HealthCheck health;

    @Mixin
    private Output output;

    @Parameters(index = "0", paramLabel = "A", description = "Where the checkpoint of the running service goes.")
    private Path first;

    @Parameters(index = "1", paramLabel = "B", description = "Where the checkpoint of the other service is.")
    private Path second;

    @Option(
            names = "--pid",
            paramLabel = "PID",
            description = "Root of the running service. Default: the one that was restored from A last.")
    private @Nullable Long runningPid;

    /** What {@code --json} prints. */
    record Document(
            long parkedPid,
            long pid,
            Duration checkpointSeconds,
            Duration restoreSeconds,
            Duration healthySeconds,
            RunView checkpoint,
            RunView restore) {}

    @Override
    public Integer call() throws IOException, InterruptedException {
        health.validate();
        options.validate();
        dump.validate();
        if (first.toAbsolutePath().normalize().equals(second.toAbsolutePath().normalize())
                || (Files.exists(first) && Files.exists(second) && Files.isSameFile(first, second))) {
            throw new IllegalArgumentException("A and B are the same folder: " + second);
        }
        CheckpointImage.open(second); // before anything is stopped
        try (Rekindle rekindle = settings.open();
                Progress progress = new Progress("swap", output.err())) {
            long pid = runningPid == null ? ServicePid.find(first) : runningPid;
            checkPidsOfSecond(pid);
            CheckpointRequest.Builder park = CheckpointRequest.builder(pid, first);
            dump.apply(options.tree(), park);
            parkOption.apply(park);
            parent.apply(park);
            options.apply(park, progress);
            long begin = System.nanoTime();
            RunView parked;
            try (LinkRemaps earlier = options.tree().linkRemap() ? LinkRemaps.setAside(first) : LinkRemaps.none()) {
                RunStatistics statistics = rekindle.checkpoint(park.build()).statistics();
                parked = RunView.of(statistics);
                parkOption.note(statistics, output);
                earlier.remove().forEach(problem -> output.note("rekindle: " + problem));
            }
            forget(first);
            awaitEndOfFirst(pid);
            Duration checkpoint = Duration.ofNanos(System.nanoTime() - begin);

            begin = System.nanoTime();
            RestoredProcess restored = restoreSecond(rekindle, progress);
            Duration restore = Duration.ofNanos(System.nanoTime() - begin);
            // Whatever ends this command while it waits: the process runs, and the next swap finds it.
            remember(second, restored.pid());
            Duration healthy = awaitHealth(rekindle, restored, progress);
            progress.finish();
            var document = new Document(
                    pid, restored.pid(), checkpoint, restore, healthy, parked, RunView.of(restored.statistics()));
            output.print(
                    document,
                    out -> {
                        if (!options.quiet()) {
                            out.printf(
                                    "put %d away in %s, restored in %s%s%n",
                                    pid,
                                    Texts.seconds(checkpoint),
                                    Texts.seconds(restore),
                                    health.isGiven() ? ", well after another " + Texts.seconds(healthy) : "");
                        }
                        out.println(restored.pid());
                    },
                    "process " + restored.pid() + " is restored and runs, and " + pid + " is in " + first);
            return 0;
        }
    }

    /** Before anything is stopped. What the tree of the first service has is free by then; a tree with a process 1 has ids of its own. */
    private void checkPidsOfSecond(long running) {
        List<Long> needed = CheckpointImage.open(second).processes().stream()
                .map(ImageProcess::pid)
                .toList();
        if (needed.contains(1L)) {
            return;
        }
        Set<Long> ends = ProcessHandle.of(running).stream()
                .flatMap(root -> Stream.concat(Stream.of(root), root.descendants()))
                .map(ProcessHandle::pid)
                .collect(Collectors.toSet());
        for (long pid : needed) {
            Optional<Long> holder = ProcessStat.holder(pid).filter(process -> !ends.contains(process));
            if (holder.isPresent()) {
                throw new CommandException(
                        ErrorCode.PID_IN_USE,
                        "the checkpoint in %s needs the process id %d, which process %d has: end that first; nothing was stopped"
                                .formatted(second, pid, holder.get()));
            }
        }
    }

    private void awaitEndOfFirst(long pid) {
        try {
            if (ProcessStat.awaitEnd(pid, END_LIMIT)) {
                return;
            }
        } catch (InterruptedException signal) {
            throw interrupted();
        }
        throw new CommandException(
                ErrorCode.BUSY,
                "process %d was put away in %s but has not ended: see what holds it, then restore the service in %s"
                        .formatted(pid, first, second));
    }

    private Duration awaitHealth(Rekindle rekindle, RestoredProcess restored, Progress progress) {
        Optional<Duration> healthy;
        try {
            healthy = health.await();
        } catch (InterruptedException signal) {
            throw new CommandException(
                    ErrorCode.CANCELLED,
                    "interrupted: the service in %s runs with pid %d, and nothing is known of its health"
                            .formatted(second, restored.pid()));
        }
        return healthy.orElseThrow(() -> {
            String ended;
            try {
                ended = end(restored);
            } catch (InterruptedException signal) {
                throw interrupted();
            }
            return new CommandException(
                    ErrorCode.TIMEOUT,
                    "the service in %s came back but did not get well; %s, and %s"
                            .formatted(second, ended, back(rekindle, progress)));
        });
    }

    /** Where a signal comes between the end of one and the beginning of the other. */
    private CommandException interrupted() {
        return new CommandException(ErrorCode.CANCELLED, "interrupted: " + neither());
    }

    private String neither() {
        return "neither service runs: 'rekindle restore %s' or 'rekindle restore %s' brings one back"
                .formatted(first, second);
    }

    private RestoredProcess restoreSecond(Rekindle rekindle, Progress progress) {
        try {
            return restore(rekindle, second, progress);
        } catch (RekindleException failure) {
            output.note("rekindle: the service in " + second + " did not come back, and " + back(rekindle, progress));
            throw failure;
        }
    }

    /** Brings the first service back, and says what has become of it. */
    private String back(Rekindle rekindle, Progress progress) {
        try {
            long pid = restore(rekindle, first, progress).pid();
            remember(first, pid);
            return "the first one runs again, with pid " + pid;
        } catch (RekindleException failure) {
            return "the first one could not be brought back from %s (%s), so %s"
                    .formatted(first, RekindleCommand.sentence(failure).replaceAll("\\.$", ""), neither());
        }
    }

    private void remember(Path folder, long pid) {
        try {
            ServicePid.write(folder, pid);
        } catch (IOException failure) {
            output.note(
                    "rekindle: the service in %s runs with pid %d, which could not be noted there (%s): name it with --pid next time"
                            .formatted(folder, pid, RekindleCommand.sentence(failure)));
        }
    }

    private void forget(Path folder) {
        try {
            ServicePid.remove(folder);
        } catch (IOException failure) {
            output.note("rekindle: %s still has a note of a process that has ended (%s), which does no harm"
                    .formatted(folder, RekindleCommand.sentence(failure)));
        }
    }

    /** Its processes of before the last swap may have ended but not be collected yet. */
    private RestoredProcess restore(Rekindle rekindle, Path folder, Progress progress) {
        RestoreRequest request = request(folder, progress);
        try {
            return rekindle.restore(request);
        } catch (PidInUseException inUse) {
            List<Long> pids = CheckpointImage.open(folder).processes().stream()
                    .map(ImageProcess::pid)
                    .toList();
            try {
                if (!ProcessStat.awaitCollection(pids, END_LIMIT)) {
                    throw inUse;
                }
            } catch (InterruptedException signal) {
                throw interrupted();
            }
            return rekindle.restore(request);
        }
    }

    private RestoreRequest request(Path folder, Progress progress) {
        RestoreRequest.Builder request = RestoreRequest.builder(folder);
        options.apply(request, progress);
        return request.build();
    }

    /** Says what has become of it. */
    private String end(RestoredProcess restored) throws InterruptedException {
        var handle = restored.processHandle();
        boolean ended = true;
        if (handle.isPresent()) {
            var descendants = handle.get().descendants().toList();
            handle.get().destroyForcibly();
            descendants.forEach(ProcessHandle::destroyForcibly);
            ended = ProcessStat.awaitEnd(restored.pid(), END_LIMIT);
        }
        forget(second);
        return ended ? "it was ended" : "it was killed, but its process " + restored.pid() + " has not ended yet";
    }
}
