// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.List;
import java.util.Locale;
import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;
import jdk.jfr.Timespan;
import org.jspecify.annotations.Nullable;

/** The events that this library writes to Java Flight Recorder: it is an observer like others. */
final class RunEvents {
    private RunEvents() {}

    /** Names no event as another class than its own: an AOT cache, which has no events, would load them at each start. */
    static RunObserver.Observation begin(RunStart run) {
        return run.kind() == RunKind.CHECKPOINT ? Checkpoint.of(run) : Restore.of(run);
    }

    /** What a checkpoint and a restore have in common. */
    @Category("Rekindle")
    @StackTrace(false)
    abstract static class Run extends Event implements RunObserver.Observation {
        @Label("Process")
        long pid;

        @Label("Images")
        @Nullable
        String directory;

        @Label("Succeeded")
        boolean succeeded;

        @Label("Failure")
        @Nullable
        String failure;

        @Label("Error Code")
        @Description("What kind of thing went wrong: a name of dev.rekindle.ErrorCode")
        @Nullable
        String errorCode;

        @Label("Failed Phase")
        @Description("Where it went wrong: a name of dev.rekindle.PhaseKind")
        @Nullable
        String phase;

        @Label("Mode")
        @Description("How device memory travelled: offload, native, mixed, or none where no process uses CUDA")
        @Nullable
        String mode;

        @Label("Device Memory")
        @DataAmount
        long deviceBytes;

        @Label("Host Memory")
        @DataAmount
        long hostBytes;

        @Label("GPU Images")
        @DataAmount
        long imageBytes;

        @Label("Processes Using CUDA")
        int processes;

        @Label("Simulated")
        @Description("The simulated CUDA driver was used")
        boolean simulated;

        @Label("GPU")
        @Nullable
        String gpuName;

        @Label("Driver Version")
        @Description("As cuDriverGetVersion says, 0 where no process uses CUDA")
        int driverVersion;

        RunObserver.Observation begun(RunStart run) {
            pid = run.pid().orElse(0);
            directory = run.directory().toString();
            begin();
            return this;
        }

        @Override
        public void phase(long process, Phase part) {
            Copy.commit(process, part);
        }

        @Override
        public void end(long root, RunStatistics statistics) {
            end();
            if (shouldCommit()) {
                pid = root;
                succeeded = true;
                fill(statistics);
                commit();
            }
        }

        @Override
        public void fail(RuntimeException exception) {
            end();
            if (shouldCommit()) {
                failure = exception.getMessage();
                if (exception instanceof RekindleException known) {
                    errorCode = known.code().name();
                    phase = known.phase().name();
                }
                commit();
            }
        }

        void fill(RunStatistics statistics) {
            deviceBytes = statistics.deviceBytes();
            hostBytes = statistics.hostBytes();
            imageBytes = statistics.imageBytes();
            processes = statistics.processes().size();
            simulated = statistics.simulated();
            mode = mode(statistics.processes());
            gpuName = statistics.gpuName().orElse("");
            driverVersion = statistics.driverVersion().orElse(0);
        }

        static String mode(List<ProcessStatistics> processes) {
            var modes =
                    processes.stream().map(ProcessStatistics::mode).distinct().toList();
            return switch (modes.size()) {
                case 0 -> "none";
                case 1 -> modes.getFirst().name().toLowerCase(Locale.ROOT);
                default -> "mixed";
            };
        }
    }

    @Name("dev.rekindle.Checkpoint")
    @Label("Checkpoint")
    @Description("A process tree was dumped")
    static final class Checkpoint extends Run {
        static RunObserver.Observation of(RunStart run) {
            return new Checkpoint().begun(run);
        }

        @Label("Frozen")
        @Timespan(Timespan.NANOSECONDS)
        long frozen;

        @Override
        void fill(RunStatistics statistics) {
            super.fill(statistics);
            frozen = statistics.criu().frozenTime().toNanos();
        }
    }

    @Name("dev.rekindle.Restore")
    @Label("Restore")
    @Description("A process tree was restored")
    static final class Restore extends Run {
        static RunObserver.Observation of(RunStart run) {
            return new Restore().begun(run);
        }

        @Label("Overlap")
        @Description("GPU copying that was hidden behind CRIU's own work")
        @Timespan(Timespan.NANOSECONDS)
        long overlap;

        @Label("Pool Warm")
        boolean poolWarm;

        @Override
        void fill(RunStatistics statistics) {
            super.fill(statistics);
            overlap = statistics.overlap().toNanos();
            poolWarm = statistics.poolWarm();
        }
    }

    /** Written when its run is over, so it has its times as fields. */
    @Name("dev.rekindle.Copy")
    @Label("Copy")
    @Description("Device memory of one process was copied")
    @Category("Rekindle")
    @StackTrace(false)
    static final class Copy extends Event {
        @Label("Process")
        long pid;

        @Label("Phase")
        @Nullable
        String phase;

        @Label("Offset")
        @Description("When the copy began, counted from the start of the run")
        @Timespan(Timespan.NANOSECONDS)
        long offset;

        @Label("Copy Time")
        @Timespan(Timespan.NANOSECONDS)
        long copyTime;

        @Label("Bytes")
        @DataAmount
        long bytes;

        static void commit(long process, Phase part) {
            Copy event = new Copy();
            if (event.isEnabled()
                    && part.bytes() > 0
                    && (part.kind() == PhaseKind.COPY_OUT || part.kind() == PhaseKind.PREFETCH)) {
                event.pid = process;
                event.phase = part.kind().name();
                event.offset = part.start().toNanos();
                event.copyTime = part.duration().toNanos();
                event.bytes = part.bytes();
                event.commit();
            }
        }
    }
}
