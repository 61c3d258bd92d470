// SPDX-License-Identifier: MIT
package dev.rekindle.micrometer;

import dev.rekindle.ErrorCode;
import dev.rekindle.Phase;
import dev.rekindle.RekindleException;
import dev.rekindle.RunObserver;
import dev.rekindle.RunStart;
import dev.rekindle.RunStatistics;
import io.micrometer.core.instrument.DistributionSummary;
import io.micrometer.core.instrument.LongTaskTimer;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Timer;
import java.util.Locale;
import java.util.Objects;

/**
 * Counts and times the runs of a handle, see {@link dev.rekindle.Rekindle.Builder#observer}. Any threads may use it.
 *
 * <ul>
 *   <li>{@code rekindle.run}, a timer: {@code kind} is checkpoint or restore, {@code outcome} is success or the
 *       {@link ErrorCode} of the failure in lower case.
 *   <li>{@code rekindle.run.active}, a long task timer of the runs under way, by {@code kind}.
 *   <li>{@code rekindle.phase}, a timer of the phases of each process, by {@code kind} and {@code phase}.
 *   <li>{@code rekindle.device} and {@code rekindle.host}, summaries of bytes by {@code kind}: device memory outside the
 *       process images, and CRIU's pages images.
 * </ul>
 */
public final class RekindleMetrics implements RunObserver {
    private final MeterRegistry registry;

    /**
     * An observer for handles.
     *
     * @param registry where the meters are
     */
    public RekindleMetrics(MeterRegistry registry) {
        this.registry = Objects.requireNonNull(registry, "registry");
    }

    @Override
    public Observation begin(RunStart run) {
        String kind = lower(Objects.requireNonNull(run, "run").kind());
        Timer.Sample sample = Timer.start(registry);
        LongTaskTimer.Sample active = LongTaskTimer.builder("rekindle.run.active")
                .description("Checkpoints and restores under way")
                .tag("kind", kind)
                .register(registry)
                .start();
        return new Observation() {
            @Override
            public void phase(long pid, Phase phase) {
                Timer.builder("rekindle.phase")
                        .description("Phases of the processes of a run")
                        .tags("kind", kind, "phase", lower(phase.kind()))
                        .register(registry)
                        .record(phase.duration());
            }

            @Override
            public void end(long pid, RunStatistics statistics) {
                over("success");
                bytes("rekindle.device", "Device memory outside the process images", statistics.deviceBytes());
                bytes("rekindle.host", "CRIU's pages images", statistics.hostBytes());
            }

            @Override
            public void fail(RuntimeException failure) {
                over(lower(
                        switch (failure) {
                            case RekindleException known -> known.code();
                            case IllegalArgumentException _ -> ErrorCode.INVALID_ARGUMENT;
                            default -> ErrorCode.INTERNAL;
                        }));
            }

            private void over(String outcome) {
                active.stop();
                sample.stop(Timer.builder("rekindle.run")
                        .description("Checkpoints and restores")
                        .tags("kind", kind, "outcome", outcome)
                        .register(registry));
            }

            private void bytes(String name, String description, long bytes) {
                DistributionSummary.builder(name)
                        .description(description)
                        .baseUnit("bytes")
                        .tag("kind", kind)
                        .register(registry)
                        .record((double) bytes);
            }
        };
    }

    private static String lower(Enum<?> constant) {
        return constant.name().toLowerCase(Locale.ROOT);
    }
}
