// SPDX-License-Identifier: MIT
package dev.rekindle.benchmarks;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import dev.rekindle.Phase;
import dev.rekindle.ProcessStatistics;
import dev.rekindle.RunStatistics;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * The phases of one restore, in milliseconds from its start.
 *
 * @param settings of the restore
 * @param cache state of the page cache before it
 * @param milliseconds all of it
 * @param bars its phases
 */
record Timeline(String settings, String cache, double milliseconds, List<Bar> bars) {
    private static final Gson GSON = new GsonBuilder().setPrettyPrinting().create();

    /**
     * One phase.
     *
     * @param name its name
     * @param start when it began
     * @param duration how long it took
     * @param bytes how much it moved
     */
    record Bar(String name, double start, double duration, long bytes) {}

    static Timeline of(String settings, String cache, RunStatistics run) {
        var bars = new ArrayList<Bar>();
        double all = milliseconds(run.duration());
        double criu = milliseconds(run.criu().restoreTime());
        bars.add(new Bar("CRIU, with host memory", 0, criu, run.hostBytes()));
        if (run.processes().isEmpty()) {
            // The stock plugin leaves no statistics: what is not CRIU's is the plugin's and the driver's.
            bars.add(new Bar("plugin and driver", criu, all - criu, 0));
        }
        for (ProcessStatistics process : run.processes()) {
            for (Phase phase : process.phases()) {
                bars.add(new Bar(
                        phase.kind().name().toLowerCase(Locale.ROOT).replace('_', ' '),
                        milliseconds(phase.start()),
                        milliseconds(phase.duration()),
                        phase.bytes()));
            }
        }
        return new Timeline(settings, cache, all, bars);
    }

    void write() throws IOException {
        Files.createDirectories(Machine.RESULTS);
        Files.writeString(
                Machine.RESULTS.resolve("timeline-" + settings + "-" + cache + ".json"), GSON.toJson(this) + "\n");
    }

    static Timeline read(Path file) throws IOException {
        return GSON.fromJson(Files.readString(file), Timeline.class);
    }

    private static double milliseconds(Duration duration) {
        return duration.toNanos() / 1e6;
    }
}
