// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import java.util.List;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a tree holds, on the simulated driver. */
class InspectionTest {
    private static final Path IMAGES = Path.of("images");

    @TempDir
    private Path folder;

    @Test
    void processesAndObstaclesAreTold() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            CheckpointRequest request = CheckpointRequest.of(worker.pid(), IMAGES);

            ProcessInspection inspection = rekindle.inspect(request);

            assertThat(inspection.obstacles()).isEmpty();
            assertThat(inspection.duration()).isPositive();
            assertThat(inspection.processes()).singleElement().satisfies(process -> {
                assertThat(process.pid()).isEqualTo(worker.pid());
                assertThat(process.name()).isEqualTo("rekindle-worker");
                assertThat(process.threads()).isPositive();
                assertThat(process.cuda()).isEqualTo(CudaState.RUNNING);
                assertThat(process.agent()).isEqualTo(AgentState.READY);
                assertThat(process.agentNote()).isEmpty();
            });

            new ProcessBuilder("kill", "-STOP", String.valueOf(worker.pid()))
                    .start()
                    .waitFor();
            Worker.await(
                    "the worker to stop",
                    () -> !rekindle.inspect(request).obstacles().isEmpty());
            assertThat(rekindle.inspect(request).obstacles()).singleElement().satisfies(obstacle -> {
                assertThat(obstacle.kind()).isEqualTo(ObstacleKind.STOPPED);
                assertThat(obstacle.pid()).isEqualTo(worker.pid());
                assertThat(obstacle.what()).contains("is stopped");
                assertThat(obstacle.remedy()).contains("SIGCONT");
            });
        }
    }

    /** What a checkpoint of it would throw. */
    @Test
    void noSuchProcessIsSaidAsByACheckpoint() throws Exception {
        Process ended = new ProcessBuilder("true").start();
        ended.waitFor();
        CheckpointRequest request = CheckpointRequest.of(ended.pid(), IMAGES);
        try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
            for (ThrowingCallable call :
                    List.<ThrowingCallable>of(() -> rekindle.inspect(request), () -> rekindle.checkpoint(request))) {
                assertThatThrownBy(call)
                        .isInstanceOfSatisfying(
                                CheckpointException.class,
                                failure -> assertThat(failure.code()).isEqualTo(ErrorCode.NO_SUCH_PROCESS))
                        .hasMessageContaining(String.valueOf(ended.pid()));
            }
        }
    }

    @Test
    void aDumpRefusesWithAllOfThem() throws Exception {
        Process process = new ProcessBuilder(
                        "setsid",
                        "bash",
                        "-c",
                        "exec 5<>one 6<>two; head -c 3M /dev/zero >&5; head -c 5M /dev/zero >&6; rm one two; exec sleep 1000")
                .directory(folder.toFile())
                .start();
        try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
            CheckpointRequest.Builder request = CheckpointRequest.builder(process.pid(), IMAGES);
            CheckpointRequest strict = request.build();
            // The shell is at it still.
            Worker.await(
                    "the shell to be done",
                    () -> rekindle.inspect(strict).obstacles().size() == 2
                            && rekindle.inspect(strict)
                                    .processes()
                                    .getFirst()
                                    .name()
                                    .equals("sleep"));
            assertThatThrownBy(() -> rekindle.checkpoint(strict))
                    .isInstanceOf(IncompatibleException.class)
                    .hasMessageContaining("--ghost-limit 4M")
                    .hasMessageContaining("--ghost-limit 6M");
            assertThat(folder.resolve(IMAGES).resolve("dump.log")).doesNotExist();
            CheckpointRequest allowed =
                    request.argument("--ghost-limit").argument("8M").build();
            assertThat(rekindle.inspect(allowed).obstacles()).isEmpty();
        } finally {
            process.destroyForcibly().waitFor();
        }
    }
}
