// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * What {@code rekindle bench --json} prints, and {@code rekindle report} reads.
 *
 * @param command the program
 * @param rounds how many times each side was measured
 * @param cache cold only where that was looked at before each of them
 * @param notCold why it is not, where it was to be
 * @param conditions under which it was measured
 * @param sides in the order in which they are shown: stock before ours
 */
record BenchResult(
        List<String> command,
        int rounds,
        Cache cache,
        List<String> notCold,
        Conditions conditions,
        List<SideResult> sides) {
    /** Of files, and of what CUDA, Triton and Torch have compiled. */
    enum Cache {
        COLD,
        WARM
    }

    /** A way in which a service comes up. */
    enum Side {
        COLD_START("cold start"),
        STOCK("stock CRIU"),
        REKINDLE("Rekindle");

        private final String title;

        Side(String title) {
            this.title = title;
        }

        String title() {
            return title;
        }
    }

    /** The machine and what was on it. */
    record Conditions(
            Instant created,
            String kernel,
            int cores,
            String gpu,
            boolean simulated,
            String criu,
            String stockCriu,
            boolean stockPlugins,
            String imagesFileSystem,
            int settleSeconds) {}

    /** The runs of a side in their order, from its start until the service was well; or why it was given up. */
    record SideResult(
            Side side,
            List<Duration> seconds,
            @Nullable Summary summary,
            String failure,
            @Nullable RunView lastRun) {}

    /** Of the runs of a side. The ratio is that of its median to Rekindle's, where that was measured. */
    record Summary(
            Duration medianSeconds,
            Duration p95Seconds,
            Duration p99Seconds,
            Duration minimumSeconds,
            Duration maximumSeconds,
            Duration spreadSeconds,
            @Nullable Double ratio) {}

    static @Nullable Summary summary(List<Duration> runs, Optional<Duration> ours) {
        if (runs.isEmpty()) {
            return null;
        }
        List<Duration> sorted = runs.stream().sorted().toList();
        Duration median = median(sorted);
        return new Summary(
                median,
                rank(sorted, 0.95),
                rank(sorted, 0.99),
                sorted.getFirst(),
                sorted.getLast(),
                sorted.getLast().minus(sorted.getFirst()),
                ours.filter(duration -> duration.toNanos() > 0)
                        .map(duration -> (double) median.toNanos() / duration.toNanos())
                        .orElse(null));
    }

    static Duration median(List<Duration> sorted) {
        int half = sorted.size() / 2;
        return sorted.size() % 2 == 1
                ? sorted.get(half)
                : sorted.get(half - 1).plus(sorted.get(half)).dividedBy(2);
    }

    /** The smallest one that so many of them do not exceed. */
    static Duration rank(List<Duration> sorted, double part) {
        return sorted.get(Math.max(0, (int) Math.ceil(part * sorted.size()) - 1));
    }

    /** How many times faster ours is than another side, where both were measured. */
    Optional<Double> ratio(Side other) {
        return sides.stream()
                .filter(result -> result.side() == other)
                .map(SideResult::summary)
                .flatMap(summary -> Optional.ofNullable(summary).stream())
                .flatMap(summary -> Optional.ofNullable(summary.ratio()).stream())
                .findFirst();
    }
}
