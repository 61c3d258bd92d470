// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Device memory that a checkpoint leaves in a pool for the next restore. */
class ParkTest {
    private static final long BYTES = 24 << 20;

    @TempDir
    private Path folder;

    @Test
    void aRestoreFindsWhatACheckpointHasLeft() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                WarmPool pool = rekindle.openPool();
                Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            Path images = folder.resolve("images");
            RunStatistics checkpoint = rekindle.checkpoint(CheckpointRequest.builder(worker.pid(), images)
                            .park(Park.DEVICE)
                            .build())
                    .statistics();
            assertThat(checkpoint.residentBytes()).isEqualTo(BYTES);
            assertThat(RunStatistics.read(images, RunKind.CHECKPOINT).residentBytes())
                    .isEqualTo(BYTES);
            worker.awaitEnd();
            Worker.await(
                    "memory to be compared", () -> pool.images().getFirst().state() == ResidentImages.State.FILLED);
            assertThat(pool.images()).singleElement().satisfies(resident -> {
                assertThat(resident.parked()).isTrue();
                assertThat(resident.taken()).isFalse();
                assertThat(resident.bytes()).isEqualTo(BYTES);
            });
            RestoredProcess restored = rekindle.restore(RestoreRequest.of(images));
            assertThat(restored.statistics().residentBytes()).isEqualTo(BYTES);
            assertThat(pool.statistics().imagesResident()).isEqualTo(1);
            assertThat(pool.statistics().bytesToDevice()).isZero();
            assertThat(worker.checksum()).isEqualTo(before);

            // Only where it is asked for.
            assertThat(rekindle.checkpoint(CheckpointRequest.builder(worker.pid(), images)
                                    .park(Park.FILE)
                                    .build())
                            .statistics()
                            .residentBytes())
                    .isZero();
            assertThat(pool.images()).isEmpty();
            assertThatThrownBy(() -> pool.prefetch(images, Tier.PINNED))
                    .hasMessageContaining("REKINDLE_PINNED_BUDGET of the pool, 0 MiB");
            Worker.await(
                    "its end",
                    () -> restored.processHandle()
                            .filter(ProcessHandle::isAlive)
                            .isEmpty());
            assertThat(rekindle.restore(RestoreRequest.of(images)).statistics().residentBytes())
                    .isZero();
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }

    @Test
    void whatIsInNoFileIsRestoredOnce() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                WarmPool pool = rekindle.openPool();
                Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            Path images = folder.resolve("images");
            RunStatistics checkpoint = rekindle.checkpoint(CheckpointRequest.builder(worker.pid(), images)
                            .park(Park.EPHEMERAL)
                            .build())
                    .statistics();
            assertThat(checkpoint.residentBytes()).isEqualTo(BYTES);
            assertThat(checkpoint.imageBytes()).isZero();
            worker.awaitEnd();
            CheckpointImage image = CheckpointImage.open(images);
            assertThat(image.processes()).singleElement().satisfies(process -> {
                assertThat(process.deviceBytes()).isEqualTo(BYTES);
                assertThat(process.reason()).hasValue("in no file: a pool has the memory (REKINDLE_PARK=ephemeral)");
            });
            assertThatThrownBy(image::verify).hasMessageContaining("is in no file");
            RestoredProcess restored = rekindle.restore(RestoreRequest.of(images));
            assertThat(restored.statistics().residentBytes()).isEqualTo(BYTES);
            assertThat(worker.checksum()).isEqualTo(before);
            assertThat(pool.statistics().bytesToDevice()).isZero();
            restored.processHandle().ifPresent(ProcessHandle::destroyForcibly);
            worker.awaitEnd();
            assertThatThrownBy(() -> rekindle.restore(RestoreRequest.of(images)))
                    .isInstanceOf(CorruptImageException.class)
                    .hasMessageContaining("only the pool that its dump left it in can restore it");
        }
    }

    @Test
    void withoutAPoolThatLastsNothingIsParked() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            Path images = folder.resolve("images");
            assertThat(rekindle.checkpoint(CheckpointRequest.builder(worker.pid(), images)
                                    .park(Park.DEVICE)
                                    .build())
                            .statistics()
                            .residentBytes())
                    .isZero();
            assertThat(images.resolve("dump.log")).content().contains("no device memory is parked: the pool of this");
            worker.awaitEnd();
            rekindle.restore(RestoreRequest.of(images));
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }
}
