// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Wrong use is a clear exception, never the end of the JVM. Null is refused too, which rekindle-spring-boot tries of all. */
class MisuseTest {
    @TempDir
    private Path folder;

    @Test
    void closedHandle() {
        Rekindle rekindle = TestMachine.rekindle(folder).build();
        rekindle.close();
        rekindle.close();
        assertThatThrownBy(() -> rekindle.checkpoint(CheckpointRequest.of(4711, folder)))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("closed");
        assertThatThrownBy(() -> rekindle.restoreAsync(RestoreRequest.of(folder)))
                .isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(rekindle::openPool).isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(rekindle::check).isInstanceOf(IllegalStateException.class);
    }

    @Test
    void deadProcess() throws Exception {
        Process process = new ProcessBuilder("true").start();
        process.waitFor();
        try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
            assertThatThrownBy(() -> rekindle.checkpoint(CheckpointRequest.of(process.pid(), folder.resolve("images"))))
                    .isInstanceOfSatisfying(CheckpointException.class, failure -> {
                        assertThat(failure.code()).isEqualTo(ErrorCode.NO_SUCH_PROCESS);
                        assertThat(failure).hasMessageContaining(String.valueOf(process.pid()));
                    });
        }
    }

    @Test
    void pidsThatCannotBe() {
        assertThatIllegalArgumentException().isThrownBy(() -> CheckpointRequest.of(1, folder));
        assertThatIllegalArgumentException().isThrownBy(() -> CheckpointRequest.of(-1, folder));
        assertThatIllegalArgumentException().isThrownBy(() -> CheckpointRequest.of(1L << 40, folder));
        assertThatIllegalArgumentException()
                .isThrownBy(() -> CheckpointRequest.of(ProcessHandle.current().pid(), folder))
                .withMessageContaining("itself");
    }

    @Test
    void valuesOutOfRange() {
        var request = CheckpointRequest.builder(4711, folder);
        assertThatIllegalArgumentException().isThrownBy(() -> request.logLevel(5));
        assertThatIllegalArgumentException().isThrownBy(() -> request.timeout(Duration.ofSeconds(-1)));
        assertThatIllegalArgumentException().isThrownBy(() -> Rekindle.builder().streams(65));
        assertThatIllegalArgumentException().isThrownBy(() -> Rekindle.builder().restoreThreads(-2));
        assertThatIllegalArgumentException()
                .isThrownBy(() -> Rekindle.builder().restoreThreads(1025))
                .withMessageContaining("1024");
        try (Rekindle rekindle =
                TestMachine.rekindle(folder).restoreThreads(1024).build()) {
            assertThat(rekindle.check()).isEmpty();
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> rekindle.restore(
                            RestoreRequest.builder(folder).argument("a\0b").build()));
        }
    }

    @Test
    void fileAsDirectory() throws Exception {
        Path file = Files.writeString(folder.resolve("file"), "no folder");
        try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
            assertThatThrownBy(() -> rekindle.restore(RestoreRequest.of(file)))
                    .isInstanceOf(RestoreException.class)
                    .hasMessageContaining(file.toString());
            Process process = new ProcessBuilder("sleep", "60").start();
            try {
                assertThatThrownBy(() -> rekindle.checkpoint(CheckpointRequest.of(process.pid(), file)))
                        .isInstanceOf(CheckpointException.class)
                        .hasMessageContaining(file.toString());
                assertThat(process.isAlive()).isTrue();
            } finally {
                process.destroyForcibly();
            }
        }
        assertThatThrownBy(() -> CheckpointImage.open(file))
                .isInstanceOf(NoImageException.class)
                .hasMessageContaining(file.toString());
    }

    @Test
    void emptyFolderHoldsNoCheckpoint() {
        assertThatThrownBy(() -> CheckpointImage.open(folder))
                .isInstanceOfSatisfying(
                        RekindleException.class,
                        failure -> assertThat(failure.code()).isEqualTo(ErrorCode.NO_IMAGE));
        assertThatThrownBy(() -> RunStatistics.read(folder, RunKind.CHECKPOINT))
                .isInstanceOf(RekindleException.class)
                .hasMessageContaining(folder.toString());
    }

    @Test
    void missingCriuIsSaidBeforeAnythingIsDone() {
        try (Rekindle rekindle =
                TestMachine.rekindle(folder).criu(folder.resolve("no-criu")).build()) {
            assertThat(rekindle.check()).hasValueSatisfying(failure -> {
                assertThat(failure.code()).isEqualTo(ErrorCode.CRIU_NOT_FOUND);
                assertThat(failure).hasMessageContaining("no-criu");
            });
        }
        try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
            assertThat(rekindle.check()).isEmpty();
        }
    }

    @Test
    void criuThatFailsShowsItsLog() throws Exception {
        // Nothing of the process is in the way: it is a script that says no.
        Process process = new ProcessBuilder("setsid", "sleep", "60").start();
        try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
            // It leads a session by then.
            Worker.await(
                    "the process to sleep",
                    () -> process.info()
                            .command()
                            .filter(command -> command.endsWith("sleep"))
                            .isPresent());
            CheckpointRequest request = CheckpointRequest.builder(process.pid(), Path.of("images"))
                    .argument("--action-script")
                    .argument("/bin/false")
                    .build();
            assertThatThrownBy(() -> rekindle.checkpoint(request))
                    .isInstanceOfSatisfying(CheckpointException.class, failure -> {
                        assertThat(failure.code()).isEqualTo(ErrorCode.CRIU_FAILED);
                        assertThat(failure.criuLog()).contains("Error");
                    });
            assertThat(process.isAlive()).isTrue();
        } finally {
            process.destroyForcibly();
        }
    }
}
