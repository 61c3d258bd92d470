// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Restores on GPUs that the caller chooses, by a pool on a machine with two. */
class DeviceMapTest {
    private static final String FIRST = "GPU-53494d55-4c41-5445-442d-4750552d3030";
    private static final String SECOND = "GPU-53494d55-4c41-5445-442d-4750552d3031";

    @TempDir
    private Path folder;

    @Test
    void theCallersChoiceIsTakenOrRefusedWithASentence() throws Exception {
        Process process = PoolProcess.start(folder, PoolProcess.TWO_GPUS, List.of());
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker");
                WarmPool pool = PoolProcess.connect(rekindle)) {
            Path images = folder.resolve("images");
            String before = worker.checksum();
            assertThat(worker.gpus()).isEqualTo(FIRST);
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), images));
            worker.awaitEnd();

            RestoreException failure = catchThrowableOfType(
                    RestoreException.class,
                    () -> rekindle.restore(
                            RestoreRequest.builder(images).deviceMap("0=9").build()));
            assertThat(failure).hasMessageContaining("asks for GPU 9, and this machine has: 0 (" + FIRST + ")");
            assertThat(failure.code()).isEqualTo(ErrorCode.INVALID_ARGUMENT);

            rekindle.restore(RestoreRequest.builder(images).deviceMap("0=1").build());
            assertThat(worker.gpus()).isEqualTo(SECOND);
            assertThat(worker.checksum()).isEqualTo(before);

            // What was moved is dumped as what it is now.
            Path again = folder.resolve("again");
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), again));
            worker.awaitEnd();
            rekindle.restore(RestoreRequest.of(again));
            assertThat(worker.gpus()).isEqualTo(SECOND);
            assertThat(worker.checksum()).isEqualTo(before);
            assertThat(pool.statistics().restores()).isEqualTo(2);
        } finally {
            process.destroyForcibly().waitFor();
        }
    }

    @Test
    void aWrongMapIsNamedBeforeAnythingIsRead() {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
            RestoreException failure = catchThrowableOfType(
                    RestoreException.class,
                    () -> rekindle.restore(
                            RestoreRequest.builder(folder).deviceMap("0=first").build()));
            assertThat(failure).hasMessageContaining("device_map 0=first is not valid");
            assertThat(failure.code()).isEqualTo(ErrorCode.INVALID_ARGUMENT);
        }
    }
}
