// SPDX-License-Identifier: MIT
package dev.rekindle.benchmarks;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/**
 * A line of the results of JMH.
 *
 * @param benchmark full name of its method
 * @param parameters those that it has
 * @param score mean of its runs
 * @param error half of its confidence interval, where there are runs enough for one
 * @param unit of score, error and runs
 * @param runs each iteration, or each sample, sorted
 * @param copyNanoseconds mean of what {@link CopyEngineBenchmark} says of itself
 */
record JmhResult(
        String benchmark,
        Map<String, String> parameters,
        double score,
        Optional<Double> error,
        String unit,
        List<Double> runs,
        Optional<Double> copyNanoseconds) {
    static List<JmhResult> read(Path file) throws IOException {
        var results = new ArrayList<JmhResult>();
        for (JsonElement element :
                JsonParser.parseString(Files.readString(file)).getAsJsonArray()) {
            JsonObject object = element.getAsJsonObject();
            var parameters = new TreeMap<String, String>();
            if (object.has("params")) {
                object.getAsJsonObject("params")
                        .asMap()
                        .forEach((name, value) -> parameters.put(name, value.getAsString()));
            }
            JsonObject metric = object.getAsJsonObject("primaryMetric");
            JsonObject counters = object.getAsJsonObject("secondaryMetrics");
            results.add(new JmhResult(
                    object.get("benchmark").getAsString(),
                    parameters,
                    metric.get("score").getAsDouble(),
                    // JMH writes "NaN" where there are too few runs.
                    Optional.of(Double.valueOf(metric.get("scoreError").getAsString()))
                            .filter(Double::isFinite),
                    metric.get("scoreUnit").getAsString().replace("/op", ""),
                    runs(metric),
                    counters.has("copyNanoseconds")
                            ? Optional.of(mean(runs(counters.getAsJsonObject("copyNanoseconds"))))
                            : Optional.empty()));
        }
        return results;
    }

    /** Of single iterations, or of samples, which JMH writes as pairs of a value and how often it was seen. */
    private static List<Double> runs(JsonObject metric) {
        var runs = new ArrayList<Double>();
        if (metric.has("rawData")) {
            for (JsonElement fork : metric.getAsJsonArray("rawData")) {
                fork.getAsJsonArray().forEach(run -> runs.add(run.getAsDouble()));
            }
        }
        if (metric.has("rawDataHistogram")) {
            for (JsonElement fork : metric.getAsJsonArray("rawDataHistogram")) {
                for (JsonElement iteration : fork.getAsJsonArray()) {
                    for (JsonElement pair : iteration.getAsJsonArray()) {
                        JsonArray seen = pair.getAsJsonArray();
                        runs.addAll(Collections.nCopies(
                                seen.get(1).getAsInt(), seen.get(0).getAsDouble()));
                    }
                }
            }
        }
        Collections.sort(runs);
        return runs;
    }

    private static double mean(List<Double> values) {
        return values.stream().mapToDouble(Double::doubleValue).average().orElse(Double.NaN);
    }

    boolean is(String name) {
        return benchmark.endsWith("." + name);
    }

    String parameter(String name) {
        return parameters.getOrDefault(name, "");
    }

    /** Class and method. */
    String name() {
        return benchmark.replaceFirst("^.*\\.(\\w+\\.\\w+)$", "$1");
    }

    /** Its runs' in nanoseconds. */
    double nanoseconds(double value) {
        return value
                * switch (unit) {
                    case "ns" -> 1;
                    case "us" -> 1e3;
                    case "ms" -> 1e6;
                    case "s" -> 1e9;
                    default -> throw new IllegalArgumentException("a result in " + unit + " is no time");
                };
    }

    /** Of the runs; the score where there are none. */
    double median() {
        return rank(0.5);
    }

    /** The smallest run that so many of them do not exceed. */
    double rank(double part) {
        return runs.isEmpty() ? score : runs.get(Math.max(0, (int) Math.ceil(part * runs.size()) - 1));
    }
}
