// SPDX-License-Identifier: MIT
package dev.rekindle.micrometer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.rekindle.CheckpointRequest;
import dev.rekindle.NoImageException;
import dev.rekindle.Rekindle;
import dev.rekindle.RestoreRequest;
import dev.rekindle.RunKind;
import dev.rekindle.RunStart;
import dev.rekindle.test.SimulatedGpu;
import dev.rekindle.test.SimulatedGpuExtension;
import dev.rekindle.test.Worker;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import java.nio.file.Path;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

@ExtendWith(SimulatedGpuExtension.class)
class RekindleMetricsTest {
    private final SimpleMeterRegistry registry = new SimpleMeterRegistry();

    @Test
    void runsTheirPhasesAndFailuresAreCounted(SimulatedGpu gpu) {
        Path images = gpu.folder().resolve("images");
        try (Rekindle rekindle =
                gpu.rekindle().observer(new RekindleMetrics(registry)).build()) {
            assertThatThrownBy(() -> rekindle.restore(RestoreRequest.of(images)))
                    .isInstanceOf(NoImageException.class);
            assertThat(count("restore", "no_image")).isEqualTo(1);

            Worker worker = gpu.startWorker("--mib", "8");
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), images));
            worker.awaitEnd();
            rekindle.restore(RestoreRequest.of(images));
        }
        assertThat(count("checkpoint", "success")).isEqualTo(1);
        assertThat(count("restore", "success")).isEqualTo(1);
        assertThat(registry.get("rekindle.phase")
                        .tags("kind", "checkpoint", "phase", "copy_out")
                        .timer()
                        .count())
                .isEqualTo(1);
        assertThat(registry.get("rekindle.device")
                        .tag("kind", "restore")
                        .summary()
                        .totalAmount())
                .isEqualTo(8 << 20);
        assertThat(registry.get("rekindle.run.active").longTaskTimers())
                .allSatisfy(active -> assertThat(active.activeTasks()).isZero());
    }

    /** Wrong arguments are the caller's; an error that came up in a run is nobody's. */
    @Test
    void whatIsNoExceptionOfTheLibraryIsCountedByItsKind() {
        var metrics = new RekindleMetrics(registry);
        var run = new RunStart(RunKind.RESTORE, Path.of("/images"), OptionalLong.empty());
        metrics.begin(run).fail(new IllegalArgumentException("no such folder"));
        metrics.begin(run).fail(new IllegalStateException(new NoClassDefFoundError()));
        assertThat(count("restore", "invalid_argument")).isEqualTo(1);
        assertThat(count("restore", "internal")).isEqualTo(1);
    }

    private long count(String kind, String outcome) {
        return registry.get("rekindle.run")
                .tags("kind", kind, "outcome", outcome)
                .timer()
                .count();
    }
}
