// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import dev.rekindle.internal.ffi.rekindle_statistics;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
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
                assertThat(run.restoreThreads()).isEqualTo(3);
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
