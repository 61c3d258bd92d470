// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the events of runs say beyond sizes. */
class RunEventsTest {
    @TempDir
    private Path folder;

    @Test
    void modeAndGpuAreSaid() throws Exception {
        List<RecordedEvent> events;
        try (Recording recording = new Recording();
                Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker offload = Worker.start(folder, "offload");
                Worker direct = Worker.start(folder, "native", false);
                Worker none = Worker.start(folder, "none", false, "--no-cuda")) {
            recording.start();
            for (Worker worker : List.of(offload, direct, none)) {
                rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images" + worker.pid())));
            }
            events = events(recording);
        }
        assertThat(events).extracting(event -> event.getString("mode")).containsExactly("offload", "native", "none");
        assertThat(events.getFirst()).satisfies(event -> {
            assertThat(event.getString("gpuName")).containsIgnoringCase("simulated");
            assertThat(event.getInt("driverVersion")).isPositive();
            assertThat(event.getString("errorCode")).isNull();
            assertThat(event.getString("phase")).isNull();
        });
        assertThat(events.getLast().getInt("driverVersion")).isZero();
    }

    @Test
    void failureHasACodeAndAPhase() throws Exception {
        List<RecordedEvent> events;
        try (Recording recording = new Recording()) {
            recording.start();
            RunEvents.begin(new RunStart(RunKind.RESTORE, folder, OptionalLong.empty()))
                    .fail(new RestoreException(new Failure(ErrorCode.GPU, PhaseKind.DRIVER_RESTORE, "it failed", "")));
            events = events(recording);
        }
        assertThat(events).singleElement().satisfies(event -> {
            assertThat(event.getString("errorCode")).isEqualTo("GPU");
            assertThat(event.getString("phase")).isEqualTo("DRIVER_RESTORE");
            assertThat(event.getString("failure")).isEqualTo("it failed");
        });
    }

    @Test
    void processesOfBothModesAreMixed() {
        assertThat(RunEvents.Run.mode(List.of(process(Mode.OFFLOAD), process(Mode.NATIVE), process(Mode.OFFLOAD))))
                .isEqualTo("mixed");
    }

    private static ProcessStatistics process(Mode mode) {
        return new ProcessStatistics(4711, mode, Optional.empty(), 0, 0, List.of());
    }

    private List<RecordedEvent> events(Recording recording) throws Exception {
        Path file = folder.resolve("recording.jfr");
        recording.stop();
        recording.dump(file);
        return RecordingFile.readAllEvents(file).stream()
                .filter(event -> event.getEventType().getName().matches("dev\\.rekindle\\.(Checkpoint|Restore)"))
                .toList();
    }
}
