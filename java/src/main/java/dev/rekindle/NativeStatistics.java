// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import dev.rekindle.internal.ffi.rekindle_phase;
import dev.rekindle.internal.ffi.rekindle_process_statistics;
import dev.rekindle.internal.ffi.rekindle_statistics;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.time.Duration;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** Statistics as native code fills them, and what becomes of them here. */
record NativeStatistics(MemorySegment run, MemorySegment processes, int capacity) {
    /** Processes that use CUDA that a run has room for; a larger tree's are read from the work folder afterwards. */
    static final int CAPACITY = 64;

    static NativeStatistics allocate(NativeCall call, int capacity) {
        return new NativeStatistics(
                call.zeroed(rekindle_statistics.layout()),
                call.array(rekindle_process_statistics.layout(), capacity),
                capacity);
    }

    static RunStatistics read(Path workDirectory, RunKind kind) {
        NativeLibrary.load();
        return read(workDirectory, kind, CAPACITY, null);
    }

    /** Reads the processes, and the run unless it is known. */
    private static RunStatistics read(
            Path workDirectory, RunKind kind, int firstCapacity, @Nullable MemorySegment known) {
        int capacity = firstCapacity;
        while (true) {
            try (NativeCall call = NativeCall.begin()) {
                NativeStatistics statistics = allocate(call, capacity);
                int code = RekindleNative.rekindle_statistics_read(
                        call.path(workDirectory),
                        kind.code(),
                        statistics.run,
                        statistics.processes,
                        capacity,
                        call.error());
                if (code != RekindleNative.REKINDLE_OK()) {
                    throw Failure.exception(Failure.Action.IMAGE, code, call.error());
                }
                int count = rekindle_statistics.process_count(statistics.run);
                if (count <= capacity) {
                    return decode(known == null ? statistics.run : known, statistics.processes, count);
                }
                capacity = count;
            }
        }
    }

    /** Decodes them. Where there were more processes than room, all are read from the work folder, but not the run. */
    RunStatistics decodeOrRead(Path workDirectory, RunKind kind) {
        int count = rekindle_statistics.process_count(run);
        if (count <= capacity) {
            return decode(run, processes, count);
        }
        try {
            return read(workDirectory, kind, count, run);
        } catch (RekindleException unreadable) {
            // The run itself went well, and its result counts more than the processes that did not fit.
            return decode(run, processes, capacity);
        }
    }

    private static RunStatistics decode(MemorySegment run, MemorySegment processes, int count) {
        long start = rekindle_statistics.start(run);
        var list = new ArrayList<ProcessStatistics>(count);
        for (int i = 0; i < count; i++) {
            list.add(process(rekindle_process_statistics.asSlice(processes, i), start));
        }
        String failure = rekindle_statistics.failure(run).getString(0);
        return new RecordedRun(
                RunKind.of(rekindle_statistics.kind(run)),
                rekindle_statistics.succeeded(run) != 0 ? Optional.empty() : Optional.of(failure),
                Duration.ofNanos(rekindle_statistics.duration(run)),
                rekindle_statistics.device_bytes(run),
                rekindle_statistics.host_bytes(run),
                rekindle_statistics.image_bytes(run),
                rekindle_statistics.linked_bytes(run),
                rekindle_statistics.resident_bytes(run),
                Duration.ofNanos(rekindle_statistics.overlap(run)),
                rekindle_statistics.pool_warm(run) != 0,
                rekindle_statistics.simulated(run) != 0,
                Absent.unlessPositive(rekindle_statistics.driver_version(run)),
                Absent.unlessText(rekindle_statistics.gpu_name(run)),
                Absent.unlessText(rekindle_statistics.criu_version(run)),
                Absent.unlessNatural(rekindle_statistics.restore_threads(run)),
                new CriuStatistics(
                        micros(rekindle_statistics.freezing_time(run)),
                        micros(rekindle_statistics.frozen_time(run)),
                        micros(rekindle_statistics.memdump_time(run)),
                        micros(rekindle_statistics.memwrite_time(run)),
                        rekindle_statistics.pages_scanned(run),
                        rekindle_statistics.pages_written(run),
                        micros(rekindle_statistics.forking_time(run)),
                        micros(rekindle_statistics.restore_time(run)),
                        rekindle_statistics.pages_restored(run)),
                list);
    }

    private static ProcessStatistics process(MemorySegment process, long runStart) {
        int count = Math.min(rekindle_process_statistics.phase_count(process), RekindleNative.REKINDLE_PHASES_MAX());
        List<Phase> phases = new ArrayList<>(count);
        for (int i = 0; i < count; i++) {
            MemorySegment phase = rekindle_process_statistics.phases(process, i);
            phases.add(new Phase(
                    PhaseKind.of(rekindle_phase.kind(phase)),
                    Duration.ofNanos(rekindle_phase.start(phase) - runStart),
                    Duration.ofNanos(rekindle_phase.duration(phase)),
                    rekindle_phase.bytes(phase)));
        }
        phases.sort(Comparator.comparing(Phase::start));
        return new ProcessStatistics(
                rekindle_process_statistics.pid(process),
                Mode.of(rekindle_process_statistics.mode(process)),
                Absent.unlessText(rekindle_process_statistics.reason(process)),
                rekindle_process_statistics.device_bytes(process),
                rekindle_process_statistics.allocations(process),
                phases);
    }

    private static Duration micros(long microseconds) {
        return Duration.of(microseconds, ChronoUnit.MICROS);
    }
}
