// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.time.Duration;
import java.util.Objects;

/**
 * One phase of a run. Immutable, so any threads may use it.
 *
 * @param kind which phase
 * @param start when it began, counted from the start of the run; negative where {@link WarmPool#prefetch} had begun it
 *     before
 * @param duration how long it took
 * @param bytes how much it moved, 0 where it moves no data
 */
public record Phase(PhaseKind kind, Duration start, Duration duration, long bytes) {
    /**
     * Checks that nothing is null.
     *
     * @param kind which phase
     * @param start when it began, counted from the start of the run; negative where {@link WarmPool#prefetch} had begun it
     *     before
     * @param duration how long it took
     * @param bytes how much it moved, 0 where it moves no data
     */
    public Phase {
        Objects.requireNonNull(kind, "kind");
        Objects.requireNonNull(start, "start");
        Objects.requireNonNull(duration, "duration");
    }

    /**
     * How fast it moved data.
     *
     * @return bytes per second, 0 where it moved none
     */
    public double bytesPerSecond() {
        return duration.isZero() ? 0 : bytes * 1e9 / duration.toNanos();
    }
}
