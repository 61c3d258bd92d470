// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import java.io.RandomAccessFile;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What the Java side says when the simulated driver fails: a code, a phase and a sentence, and nothing is lost. */
class FailureInjectionTest {
    @TempDir
    private Path folder;

    @ParameterizedTest
    @ValueSource(strings = {"cuCheckpointProcessLock=999", "cuCheckpointProcessCheckpoint=999"})
    void failedCheckpointLeavesTheProcessAsItWas(String rule) throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            try (FailingPool pool = FailingPool.start(folder, rule)) {
                CheckpointException failure = catchThrowableOfType(
                        CheckpointException.class,
                        () -> rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images"))));
                assertThat(failure).isNotNull().hasMessageContaining(rule.substring(0, rule.indexOf('=')));
                assertThat(failure.code()).isEqualTo(ErrorCode.GPU);
                assertThat(failure.phase()).isIn(PhaseKind.LOCK, PhaseKind.DRIVER_CHECKPOINT);
            }
            worker.advance();
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"cuMemcpyHtoDAsync=719", "cuCheckpointProcessRestore=999"})
    void failedRestoreLeavesNoProcessAndTheImageWhole(String rule) throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
            worker.awaitEnd();
            try (FailingPool pool = FailingPool.start(folder, rule)) {
                RestoreException failure = catchThrowableOfType(
                        RestoreException.class, () -> rekindle.restore(RestoreRequest.of(Path.of("images"))));
                assertThat(failure).isNotNull().hasMessageContaining(rule.substring(0, rule.indexOf('=')));
                assertThat(failure.code()).isEqualTo(ErrorCode.GPU);
            }
            worker.awaitEnd();
            rekindle.restore(RestoreRequest.of(Path.of("images")));
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }

    @Test
    void corruptImageIsNotRestored() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
            worker.awaitEnd();
            Path data = TestMachine.gpuPages(folder.resolve("images"), worker.pid());
            try (RandomAccessFile file = new RandomAccessFile(data.toFile(), "rw")) {
                file.seek(3 << 20);
                int value = file.read();
                file.seek(3 << 20);
                file.write(value ^ 0x80);
            }
            CorruptImageException failure = catchThrowableOfType(
                    CorruptImageException.class, () -> rekindle.restore(RestoreRequest.of(Path.of("images"))));
            assertThat(failure)
                    .isNotNull()
                    .hasMessageContaining(data.getFileName().toString());
            assertThat(failure.code()).isEqualTo(ErrorCode.CORRUPT_IMAGE);
            worker.awaitEnd();
        }
    }

    /** A pool process with a driver that fails, at the socket that the handle of this test uses. */
    private record FailingPool(Process process) implements AutoCloseable {
        static FailingPool start(Path folder, String rule) throws Exception {
            Process process = PoolProcess.start(folder, Map.of("REKINDLE_SIMCUDA_FAIL", rule), List.of());
            try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
                PoolProcess.connect(rekindle).close();
            }
            return new FailingPool(process);
        }

        @Override
        public void close() throws InterruptedException {
            process.destroyForcibly().waitFor();
        }
    }
}
