// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.CriuStatistics;
import dev.rekindle.Mode;
import dev.rekindle.PhaseKind;
import dev.rekindle.RunKind;
import dev.rekindle.RunStatistics;
import java.time.Duration;
import java.util.List;

/** The statistics of a run, for programs. */
record RunView(
        RunKind kind,
        boolean succeeded,
        String failure,
        Duration durationSeconds,
        long deviceBytes,
        long hostBytes,
        long imageBytes,
        long writtenBytes,
        long linkedBytes,
        long residentBytes,
        Duration overlapSeconds,
        boolean poolWarm,
        boolean simulated,
        int driverVersion,
        int restoreThreads,
        String gpu,
        String criuVersion,
        Criu criu,
        List<GpuProcess> processes) {
    /** CRIU's own figures. */
    record Criu(
            Duration freezingSeconds,
            Duration frozenSeconds,
            Duration memdumpSeconds,
            Duration memwriteSeconds,
            long pagesScanned,
            long pagesWritten,
            Duration forkingSeconds,
            Duration restoreSeconds,
            long pagesRestored) {
        static Criu of(CriuStatistics criu) {
            return new Criu(
                    criu.freezingTime(),
                    criu.frozenTime(),
                    criu.memdumpTime(),
                    criu.memwriteTime(),
                    criu.pagesScanned(),
                    criu.pagesWritten(),
                    criu.forkingTime(),
                    criu.restoreTime(),
                    criu.pagesRestored());
        }
    }

    /** A process that uses CUDA. */
    record GpuProcess(long pid, Mode mode, String reason, long deviceBytes, int allocations, List<Phase> phases) {}

    /** A phase of it. */
    record Phase(PhaseKind phase, Duration startSeconds, Duration durationSeconds, long bytes) {}

    static RunView of(RunStatistics run) {
        List<GpuProcess> processes = run.processes().stream()
                .map(process -> new GpuProcess(
                        process.pid(),
                        process.mode(),
                        process.reason().orElse(""),
                        process.deviceBytes(),
                        process.allocations(),
                        process.phases().stream()
                                .map(phase -> new Phase(phase.kind(), phase.start(), phase.duration(), phase.bytes()))
                                .toList()))
                .toList();
        return new RunView(
                run.kind(),
                run.succeeded(),
                run.failure().orElse(""),
                run.duration(),
                run.deviceBytes(),
                run.hostBytes(),
                run.imageBytes(),
                run.writtenBytes(),
                run.linkedBytes(),
                run.residentBytes(),
                run.overlap(),
                run.poolWarm(),
                run.simulated(),
                run.driverVersion().orElse(0),
                run.restoreThreads().orElse(-1),
                run.gpuName().orElse(""),
                run.criuVersion().orElse(""),
                Criu.of(run.criu()),
                processes);
    }
}
