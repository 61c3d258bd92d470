// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class FlightRecorderTest {
    @TempDir
    private Path folder;

    @Test
    void runsAndTheirCopiesAreEvents() throws Exception {
        Path file = folder.resolve("recording.jfr");
        try (Recording recording = new Recording();
                Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            recording.start();
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
            worker.awaitEnd();
            rekindle.restore(RestoreRequest.of(Path.of("images")));
            try {
                rekindle.restore(RestoreRequest.of(Path.of("none")));
            } catch (RestoreException expected) {
                assertThat(expected.code()).isEqualTo(ErrorCode.NO_IMAGE);
            }
            recording.stop();
            recording.dump(file);
        }
        List<RecordedEvent> events = RecordingFile.readAllEvents(file).stream()
                .filter(event -> event.getEventType().getName().startsWith("dev.rekindle."))
                .toList();
        assertThat(named(events, "dev.rekindle.Checkpoint")).singleElement().satisfies(event -> {
            assertThat(event.getBoolean("succeeded")).isTrue();
            assertThat(event.getLong("deviceBytes")).isEqualTo(24L << 20);
            assertThat(event.getBoolean("simulated")).isTrue();
            assertThat(event.getString("directory"))
                    .isEqualTo(folder.resolve("images").toString());
            assertThat(event.getDuration()).isPositive();
            assertThat(event.getDuration("frozen")).isPositive();
        });
        assertThat(named(events, "dev.rekindle.Restore")).hasSize(2).anySatisfy(event -> {
            assertThat(event.getBoolean("succeeded")).isFalse();
            assertThat(event.getString("failure")).contains("none");
        });
        assertThat(named(events, "dev.rekindle.Copy"))
                .extracting(event -> event.getString("phase"))
                .containsExactly("COPY_OUT", "PREFETCH");
        assertThat(named(events, "dev.rekindle.Copy")).allSatisfy(event -> {
            assertThat(event.getLong("bytes")).isEqualTo(24L << 20);
            assertThat(event.getDuration("copyTime")).isGreaterThan(Duration.ZERO);
        });
    }

    private static List<RecordedEvent> named(List<RecordedEvent> events, String name) {
        return events.stream()
                .filter(event -> event.getEventType().getName().equals(name))
                .toList();
    }
}
