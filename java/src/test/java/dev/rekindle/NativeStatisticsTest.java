// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import dev.rekindle.internal.ffi.RekindleNative;
import dev.rekindle.internal.ffi.rekindle_phase;
import dev.rekindle.internal.ffi.rekindle_process_statistics;
import dev.rekindle.internal.ffi.rekindle_statistics;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A tree with more GPU processes than a run has room for. */
class NativeStatisticsTest {
    private static final int PROCESSES = NativeStatistics.CAPACITY + 6;

    @TempDir
    private Path folder;

    @Test
    void runIsKeptAndProcessesAreRead() throws Exception {
        Files.writeString(
                folder.resolve("stats-rekindle.json"),
                IntStream.range(0, PROCESSES).mapToObj("""
                                {"pid": %d, "mode": "offload", "device_bytes": 7, "allocations": 1, "phases": \
                                [{"phase": "prefetch", "start": 5000, "duration": 10, "bytes": 7}]}"""::formatted).collect(Collectors.joining(",", """
                                {"kind": "restore", "succeeded": true, "start": 4000, "duration": 3000,
                                 "processes": [""", "]}")));
        NativeLibrary.load();
        try (NativeCall call = NativeCall.begin()) {
            NativeStatistics own = NativeStatistics.allocate(call, NativeStatistics.CAPACITY);
            rekindle_statistics.kind(own.run(), RunKind.RESTORE.code());
            rekindle_statistics.start(own.run(), 1000);
            rekindle_statistics.duration(own.run(), 9000);
            rekindle_statistics.host_bytes(own.run(), 42);
            rekindle_statistics.restore_threads(own.run(), 3);
            rekindle_statistics.process_count(own.run(), PROCESSES);

            assertThat(own.decodeOrRead(folder, RunKind.RESTORE)).satisfies(run -> {
                assertThat(run.duration()).isEqualTo(Duration.ofNanos(9000));
                assertThat(run.hostBytes()).isEqualTo(42);
                assertThat(run.restoreThreads()).hasValue(3);
                assertThat(run.processes()).hasSize(PROCESSES);
                assertThat(run.processes().getLast()).satisfies(last -> {
                    assertThat(last.pid()).isEqualTo(PROCESSES - 1);
                    assertThat(last.phases())
                            .singleElement()
                            .satisfies(phase -> assertThat(phase.start()).isEqualTo(Duration.ofNanos(4000)));
                });
            });
        }
        assertThat(RunStatistics.read(folder, RunKind.RESTORE)).satisfies(run -> {
            assertThat(run.duration()).isEqualTo(Duration.ofNanos(3000));
            assertThat(run.processes()).hasSize(PROCESSES);
        });
    }

    /** Each field has a value of its own, and each kind of boolean and text too. */
    @Test
    void everyFieldIsItsOwn() {
        NativeLibrary.load();
        try (NativeCall call = NativeCall.begin()) {
            NativeStatistics own = NativeStatistics.allocate(call, 2);
            MemorySegment run = own.run();
            rekindle_statistics.kind(run, RunKind.CHECKPOINT.code());
            rekindle_statistics.succeeded(run, 1);
            rekindle_statistics.start(run, 1_000);
            rekindle_statistics.duration(run, 102);
            rekindle_statistics.device_bytes(run, 103);
            rekindle_statistics.host_bytes(run, 104);
            rekindle_statistics.image_bytes(run, 105);
            rekindle_statistics.linked_bytes(run, 100);
            rekindle_statistics.resident_bytes(run, 109);
            rekindle_statistics.overlap(run, 106);
            rekindle_statistics.pool_warm(run, 1);
            rekindle_statistics.simulated(run, 0);
            rekindle_statistics.driver_version(run, 107);
            rekindle_statistics.restore_threads(run, 108);
            rekindle_statistics.freezing_time(run, 4);
            rekindle_statistics.frozen_time(run, 5);
            rekindle_statistics.memdump_time(run, 6);
            rekindle_statistics.memwrite_time(run, 7);
            rekindle_statistics.pages_scanned(run, 8);
            rekindle_statistics.pages_written(run, 9);
            rekindle_statistics.forking_time(run, 10);
            rekindle_statistics.restore_time(run, 11);
            rekindle_statistics.pages_restored(run, 12);
            rekindle_statistics.process_count(run, 2);
            rekindle_statistics.gpu_name(run).setString(0, "a GPU");
            rekindle_statistics.criu_version(run).setString(0, "a CRIU");
            rekindle_statistics.failure(run).setString(0, "a failure");
            for (int i = 0; i < 2; i++) {
                MemorySegment process = rekindle_process_statistics.asSlice(own.processes(), i);
                rekindle_process_statistics.pid(process, 200 + i);
                rekindle_process_statistics.mode(
                        process,
                        i == 0 ? RekindleNative.REKINDLE_MODE_OFFLOAD() : RekindleNative.REKINDLE_MODE_NATIVE());
                rekindle_process_statistics.reason(process).setString(0, "reason " + i);
                rekindle_process_statistics.device_bytes(process, 210 + i);
                rekindle_process_statistics.allocations(process, 220 + i);
                rekindle_process_statistics.phase_count(process, 1 + i);
                for (int j = 0; j <= i; j++) {
                    MemorySegment phase = rekindle_process_statistics.phases(process, j);
                    rekindle_phase.kind(phase, RekindleNative.REKINDLE_PHASE_LOCK() + j);
                    rekindle_phase.start(phase, 1_300 + 10 * i + j);
                    rekindle_phase.duration(phase, 400 + 10 * i + j);
                    rekindle_phase.bytes(phase, 500 + 10 * i + j);
                }
            }
            assertThat(own.decodeOrRead(folder, RunKind.CHECKPOINT))
                    .isEqualTo(new RecordedRun(
                            RunKind.CHECKPOINT,
                            Optional.empty(),
                            Duration.ofNanos(102),
                            103,
                            104,
                            105,
                            100,
                            109,
                            Duration.ofNanos(106),
                            true,
                            false,
                            OptionalInt.of(107),
                            Optional.of("a GPU"),
                            Optional.of("a CRIU"),
                            OptionalInt.of(108),
                            new CriuStatistics(
                                    Duration.ofNanos(4_000),
                                    Duration.ofNanos(5_000),
                                    Duration.ofNanos(6_000),
                                    Duration.ofNanos(7_000),
                                    8,
                                    9,
                                    Duration.ofNanos(10_000),
                                    Duration.ofNanos(11_000),
                                    12),
                            List.of(
                                    new ProcessStatistics(
                                            200,
                                            Mode.OFFLOAD,
                                            Optional.of("reason 0"),
                                            210,
                                            220,
                                            List.of(phase(PhaseKind.LOCK, 0))),
                                    new ProcessStatistics(
                                            201,
                                            Mode.NATIVE,
                                            Optional.of("reason 1"),
                                            211,
                                            221,
                                            List.of(phase(PhaseKind.LOCK, 10), phase(PhaseKind.COPY_OUT, 11))))));
            rekindle_statistics.succeeded(run, 0);
            rekindle_statistics.pool_warm(run, 0);
            rekindle_statistics.simulated(run, 1);
            assertThat(own.decodeOrRead(folder, RunKind.CHECKPOINT)).satisfies(other -> {
                assertThat(other.succeeded()).isFalse();
                assertThat(other.failure()).contains("a failure");
                assertThat(other.poolWarm()).isFalse();
                assertThat(other.simulated()).isTrue();
            });
        }
    }

    private static Phase phase(PhaseKind kind, int number) {
        return new Phase(kind, Duration.ofNanos(300 + number), Duration.ofNanos(400 + number), 500 + number);
    }

    @Test
    void runThatWentWellIsNotLostWithItsFile() {
        NativeLibrary.load();
        try (NativeCall call = NativeCall.begin()) {
            NativeStatistics own = NativeStatistics.allocate(call, NativeStatistics.CAPACITY);
            rekindle_statistics.kind(own.run(), RunKind.RESTORE.code());
            rekindle_statistics.process_count(own.run(), PROCESSES);

            assertThat(own.decodeOrRead(folder, RunKind.RESTORE).processes()).hasSize(NativeStatistics.CAPACITY);
        }
    }
}
