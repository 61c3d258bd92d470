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
    private static final long DEVICE_BYTES = 24L << 20;

    @TempDir
    private Path folder;

    @Test
    void runsAndTheirCopiesAreEvents() throws Exception {
        Path file = folder.resolve("recording.jfr");
        RunStatistics dumped;
        RestoredProcess restored;
        RestoredProcess restoredWarm;
        try (Recording recording = new Recording();
                Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            recording.start();
            dumped = rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")))
                    .statistics();
            worker.awaitEnd();
            restored = rekindle.restore(RestoreRequest.of(Path.of("images")));
            worker.close();
            try (WarmPool pool = rekindle.openPool()) {
                assertThat(pool.isHosted()).isTrue();
                restoredWarm = rekindle.restore(RestoreRequest.of(Path.of("images")));
            }
            try {
                rekindle.restore(RestoreRequest.of(Path.of("none")));
            } catch (NoImageException expected) {
                assertThat(expected.code()).isEqualTo(ErrorCode.NO_IMAGE);
            }
            recording.stop();
            recording.dump(file);
        }
        List<RecordedEvent> events = RecordingFile.readAllEvents(file).stream()
                .filter(event -> event.getEventType().getName().startsWith("dev.rekindle."))
                .toList();
        assertThat(named(events, "dev.rekindle.Checkpoint")).singleElement().satisfies(event -> {
            assertSuccess(event, restored.pid(), dumped);
            assertThat(event.getDuration("frozen"))
                    .isPositive()
                    .isEqualTo(dumped.criu().frozenTime());
        });
        List<RecordedEvent> restores = named(events, "dev.rekindle.Restore");
        assertThat(restores).hasSize(3);
        assertThat(restores.get(0)).satisfies(event -> {
            assertSuccess(event, restored.pid(), restored.statistics());
            assertThat(event.getBoolean("poolWarm")).isFalse();
        });
        assertThat(restores.get(1)).satisfies(event -> {
            assertSuccess(event, restoredWarm.pid(), restoredWarm.statistics());
            assertThat(event.getBoolean("poolWarm")).isTrue();
            // With a cold pool the copy may begin only after CRIU is done.
            assertThat(event.getDuration("overlap"))
                    .isPositive()
                    .isEqualTo(restoredWarm.statistics().overlap());
        });
        assertThat(restores.get(2)).satisfies(event -> {
            assertThat(event.getBoolean("succeeded")).isFalse();
            assertThat(event.getString("failure")).contains("none");
            assertThat(event.getString("directory"))
                    .isEqualTo(folder.resolve("none").toString());
            assertThat(event.getLong("pid")).isZero();
            assertThat(event.getLong("deviceBytes")).isZero();
        });
        List<RecordedEvent> copies = named(events, "dev.rekindle.Copy");
        assertThat(copies)
                .extracting(event -> event.getString("phase"))
                .containsExactly("COPY_OUT", "PREFETCH", "PREFETCH");
        assertThat(copies).allSatisfy(event -> {
            assertThat(event.getLong("pid")).isEqualTo(restored.pid());
            assertThat(event.getLong("bytes")).isEqualTo(DEVICE_BYTES);
            assertThat(event.getDuration("copyTime")).isGreaterThan(Duration.ZERO);
        });
    }

    private void assertSuccess(RecordedEvent event, long pid, RunStatistics run) {
        assertThat(event.getBoolean("succeeded")).isTrue();
        assertThat(event.getString("failure")).isNull();
        assertThat(event.getLong("pid")).isEqualTo(pid);
        assertThat(event.getString("directory"))
                .isEqualTo(folder.resolve("images").toString());
        assertThat(event.getLong("deviceBytes")).isEqualTo(DEVICE_BYTES);
        assertThat(event.getLong("hostBytes")).isPositive().isEqualTo(run.hostBytes());
        assertThat(event.getLong("imageBytes")).isPositive().isEqualTo(run.imageBytes());
        assertThat(event.getInt("processes")).isEqualTo(1);
        assertThat(event.getBoolean("simulated")).isTrue();
        // The event is around the call that the statistics are of, and has another clock.
        assertThat(event.getDuration()).isGreaterThanOrEqualTo(run.duration().minusMillis(1));
    }

    private static List<RecordedEvent> named(List<RecordedEvent> events, String name) {
        return events.stream()
                .filter(event -> event.getEventType().getName().equals(name))
                .toList();
    }
}
