// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.EnumSet;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The file that native code compares what it writes with (native/report/run_record_test.c), as Java sees it. */
class RunRecordTest {
    private static final Path GOLDEN =
            Path.of(System.getProperty("rekindle.native.source"), "report", "golden", "stats-rekindle.json");

    /** Those that only say what is under way, or where something went wrong. */
    private static final Set<PhaseKind> NEVER_TIMED = EnumSet.of(PhaseKind.NONE, PhaseKind.START, PhaseKind.CRIU);

    @TempDir
    private Path folder;

    @Test
    void everyPhaseAndModeHasAName() throws Exception {
        Files.copy(GOLDEN, folder.resolve("stats-rekindle.json"));
        RunStatistics run = RunStatistics.read(folder, RunKind.CHECKPOINT);

        assertThat(run.processes()).extracting(ProcessStatistics::mode).containsExactly(Mode.OFFLOAD, Mode.NATIVE);
        assertThat(run.processes().getFirst().phases().stream().map(Phase::kind).collect(Collectors.toSet()))
                .isEqualTo(EnumSet.complementOf(EnumSet.copyOf(NEVER_TIMED)));
        assertThat(run.processes().getFirst().phases())
                .allSatisfy(phase ->
                        assertThat(phase.bytes()).isEqualTo(phase.duration().toNanos() + 90));
        assertThat(run.succeeded()).isFalse();
        assertThat(run.duration()).isEqualTo(Duration.ofNanos(1001));
        assertThat(run.failure()).contains("the sentence");
        assertThat(run.gpuName()).contains("a GPU");
    }
}
