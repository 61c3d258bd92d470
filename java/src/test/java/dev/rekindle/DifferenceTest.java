// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A process that is dumped again writes only what has changed. */
class DifferenceTest {
    private static final long BYTES = 24 << 20;

    @TempDir
    private Path folder;

    @Test
    void whatHasNotChangedIsLinked() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            Path first = folder.resolve("first");
            Path second = folder.resolve("second");
            RunStatistics whole = dump(rekindle, CheckpointRequest.builder(worker.pid(), first));
            assertThat(whole.linkedBytes()).isZero();
            assertThat(whole.writtenBytes()).isEqualTo(BYTES);
            RunStatistics again = dump(rekindle, CheckpointRequest.builder(worker.pid(), first));
            assertThat(again.imageBytes()).isEqualTo(BYTES);
            assertThat(again.linkedBytes()).isEqualTo(BYTES);
            assertThat(again.writtenBytes()).isZero();
            assertThat(RunStatistics.read(first, RunKind.CHECKPOINT).linkedBytes())
                    .isEqualTo(BYTES);
            // In another folder it is for whoever names it to say.
            assertThat(dump(rekindle, CheckpointRequest.builder(worker.pid(), second))
                            .linkedBytes())
                    .isZero();
            assertThat(dump(
                                    rekindle,
                                    CheckpointRequest.builder(worker.pid(), first)
                                            .parent(Path.of("second")))
                            .linkedBytes())
                    .isEqualTo(BYTES);
            CheckpointImage image = CheckpointImage.open(first);
            assertThat(image.linkedBytes()).isEqualTo(BYTES);
            assertThat(image.deadBytes()).isZero();
            assertThat(image.processes()).singleElement().satisfies(process -> {
                assertThat(process.gpuImage().linkedBytes()).isEqualTo(BYTES);
                assertThat(process.gpuImage().linkedTo())
                        .singleElement()
                        .asString()
                        .matches("[0-9a-f]{32}");
            });
            assertThat(image.verify()).isGreaterThan(BYTES);
            assertThat(dump(
                                    rekindle,
                                    CheckpointRequest.builder(worker.pid(), first)
                                            .whole())
                            .linkedBytes())
                    .isZero();
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }

    private static RunStatistics dump(Rekindle rekindle, CheckpointRequest.Builder request) throws Exception {
        return rekindle.checkpoint(request.leaveRunning(true).build()).statistics();
    }
}
