// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.stream.Stream;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What requests say, and what their listeners may do. */
class CheckpointRequestTest {
    @TempDir
    private Path folder;

    @Test
    void timeoutsAreRoundedUp() {
        assertThat(Stream.of(
                                Duration.ZERO,
                                Duration.ofNanos(1),
                                Duration.ofMillis(999),
                                Duration.ofSeconds(1),
                                Duration.ofMillis(1001),
                                Duration.ofSeconds(Integer.MAX_VALUE))
                        .map(timeout -> CheckpointRequest.builder(4711, folder)
                                .timeout(timeout)
                                .build()
                                .timeoutSeconds))
                .containsExactly(0, 1, 1, 1, 2, Integer.MAX_VALUE);
        var request = CheckpointRequest.builder(4711, folder);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> request.timeout(Duration.ofSeconds(Integer.MAX_VALUE, 1)));
        assertThatIllegalArgumentException().isThrownBy(() -> request.timeout(Duration.ofSeconds(Long.MAX_VALUE)));
    }

    @Test
    void treeIsLeftRunningOrStopped() {
        var builder = CheckpointRequest.builder(4711, folder).leaveRunning(true).leaveStopped(true);
        assertThatIllegalStateException().isThrownBy(builder::build).withMessageContaining("leave out one");
        assertThat(builder.leaveStopped(false).build().run.flags()).containsExactly(RunRequest.Flag.LEAVE_RUNNING);
    }

    @Test
    void whatGoesOnIsNotParkedOnTheDevice() {
        var builder = CheckpointRequest.builder(4711, folder).park(Park.DEVICE);
        assertThat(builder.build()).isNotEqualTo(CheckpointRequest.of(4711, folder));
        assertThat(builder.build()).hasToString("CheckpointRequest[pid=4711, park=DEVICE, directory=" + folder + "]");
        assertThatIllegalStateException()
                .isThrownBy(builder.leaveRunning(true)::build)
                .withMessageContaining("keeps its device memory");
        assertThat(builder.park(Park.FILE).build().park).isEqualTo(Park.FILE);
        assertThatIllegalStateException()
                .isThrownBy(builder.leaveRunning(false).leaveStopped(true).park(Park.DEVICE)::build);
    }

    @Test
    void aParentIsAFolderOrNone() {
        var builder = CheckpointRequest.builder(4711, folder);
        assertThat(builder.build().parent).isNull();
        assertThat(builder.parent(Path.of("older")).build().parent).isEqualTo(Path.of("older"));
        assertThat(builder.build()).isNotEqualTo(CheckpointRequest.of(4711, folder));
        assertThat(builder.whole().build())
                .hasToString("CheckpointRequest[pid=4711, whole=true, directory=" + folder + "]");
    }

    @Test
    void requestsAreTheirContents() {
        Runnable hook = () -> {};
        var request = CheckpointRequest.builder(4711, Path.of("images"))
                .tcpEstablished(true)
                .fileLocks(true)
                .timeout(Duration.ofSeconds(30))
                .workDirectory(Path.of("work"))
                .logFile("criu.log")
                .logLevel(2)
                .argument("--ghost-limit=8M")
                .beforeCheckpoint(hook);
        assertThat(request.build())
                .isEqualTo(request.build())
                .hasSameHashCodeAs(request.build())
                .hasToString("CheckpointRequest[pid=4711, timeout=PT30S, directory=images, workDirectory=work,"
                        + " logFile=criu.log, flags=[TCP_ESTABLISHED, FILE_LOCKS], logLevel=2,"
                        + " arguments=[--ghost-limit=8M]]");
        assertThat(request.build()).isNotEqualTo(request.beforeCheckpoint(hook).build());
        assertThat(CheckpointRequest.of(4711, folder)).isNotEqualTo(CheckpointRequest.of(4712, folder));

        var restore = RestoreRequest.builder(Path.of("images"));
        assertThat(restore.build())
                .isEqualTo(restore.build())
                .hasSameHashCodeAs(restore.build())
                .hasToString("RestoreRequest[directory=images]");
        assertThat(restore.build()).isNotEqualTo(restore.shellJob(true).build());
        assertThat(restore.build())
                .isNotEqualTo(restore.deviceMap("0=1").build())
                .isNotEqualTo(RestoreRequest.of(Path.of("images")));
        assertThat(restore.build())
                .isEqualTo(restore.build())
                .hasToString("RestoreRequest[deviceMap=0=1, directory=images, flags=[SHELL_JOB]]");
    }

    /** The run is over by the last report: its images are there, and the listener's exception is the listener's. */
    @Test
    void listenerMayThrowThisLibrarysExceptionsAtTheEnd() throws Exception {
        Path file = folder.resolve("recording.jfr");
        var thrown = new CheckpointException(Failure.of(ErrorCode.CLOSED, "the listener's own"));
        try (Recording recording = new Recording();
                Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker", false, "--no-cuda")) {
            recording.start();
            var request = CheckpointRequest.builder(worker.pid(), Path.of("images"))
                    .leaveRunning(true)
                    .progress((done, total, phase) -> {
                        // CRIU's end removes the one; only a success leaves the other.
                        if (!Files.exists(folder.resolve("images/rekindle.progress"))
                                && Files.exists(folder.resolve("images/stats-dump"))) {
                            throw thrown;
                        }
                    })
                    .build();
            assertThatThrownBy(() -> rekindle.checkpoint(request))
                    .isSameAs(thrown)
                    .satisfies(failure -> assertThat(failure.getSuppressed())
                            .singleElement()
                            .satisfies(outcome -> assertThat(outcome).hasMessageContaining("is complete")));
            worker.advance();
            recording.stop();
            recording.dump(file);
        }
        List<RecordedEvent> events = RecordingFile.readAllEvents(file).stream()
                .filter(event -> event.getEventType().getName().equals("dev.rekindle.Checkpoint"))
                .toList();
        assertThat(events)
                .singleElement()
                .satisfies(event -> assertThat(event.getBoolean("succeeded")).isTrue());
    }
}
