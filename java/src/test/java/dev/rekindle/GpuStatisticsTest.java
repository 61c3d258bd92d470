// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Statistics by GPU, on a machine with two. */
class GpuStatisticsTest {
    @TempDir
    private Path folder;

    @Test
    void processesAreUnderTheGpusThatTheyHaveMemoryOn() throws Exception {
        Process process = PoolProcess.start(folder, PoolProcess.TWO_GPUS, List.of());
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                WarmPool pool = PoolProcess.connect(rekindle);
                Worker both = Worker.startOnTwoGpus(folder, "both", "--gpus", "0,1", "--children", "1");
                Worker second = Worker.startOnTwoGpus(folder, "second", "--gpus", "1")) {
            RunStatistics dumpOfBoth = dump(rekindle, both);
            CheckpointImage image = CheckpointImage.open(folder.resolve("images-" + both.pid()));
            assertThat(image.statistics(dumpOfBoth))
                    .hasSize(2)
                    .allSatisfy(gpu -> {
                        assertThat(gpu.use().deviceBytes()).isPositive().isLessThan(48 << 20);
                        assertThat(gpu.processes())
                                .hasSize(2)
                                .containsExactlyElementsOf(dumpOfBoth.processes())
                                .allSatisfy(each -> assertThat(each.phases())
                                        .extracting(Phase::kind)
                                        .contains(PhaseKind.COPY_OUT));
                    })
                    .extracting(GpuStatistics::use)
                    .containsExactlyElementsOf(image.gpus());

            RunStatistics dumpOfSecond = dump(rekindle, second);
            assertThat(CheckpointImage.open(folder.resolve("images-" + second.pid()))
                            .statistics(dumpOfSecond))
                    .extracting(gpu ->
                            gpu.processes().stream().map(ProcessStatistics::pid).toList())
                    .containsExactly(List.of(), List.of(second.pid()));
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> image.statistics(dumpOfSecond))
                    .withMessageContaining("process " + second.pid());

            both.awaitEnd();
            RunStatistics restore =
                    rekindle.restore(RestoreRequest.of(image.directory())).statistics();
            assertThat(image.statistics(restore))
                    .allSatisfy(gpu -> assertThat(gpu.processes()).hasSize(2));
            assertThat(pool.statistics().restores()).isEqualTo(2);
        } finally {
            process.destroyForcibly().waitFor();
        }
    }

    private static RunStatistics dump(Rekindle rekindle, Worker worker) {
        return rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images-" + worker.pid())))
                .statistics();
    }
}
