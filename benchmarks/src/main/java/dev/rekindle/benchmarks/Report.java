// SPDX-License-Identifier: MIT
package dev.rekindle.benchmarks;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.awt.Color;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.knowm.xchart.CategoryChart;
import org.knowm.xchart.CategoryChartBuilder;
import org.knowm.xchart.ChartEncoder;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.internal.chartpart.Chart;

/**
 * One page, with nothing outside it, of the JSON files that runs of the benchmarks left in folders: {@code results.json}
 * with {@code conditions.json}, or any {@code NAME.json} with {@code NAME-conditions.json}.
 */
public final class Report {
    private static final int WIDTH = 900;
    private static final String STYLE = "body{font:15px sans-serif;max-width:960px;margin:2em auto;color:#222}"
            + "table{border-collapse:collapse}td,th{padding:2px 12px;text-align:left;border-bottom:1px solid #ddd}"
            + "td.n{text-align:right}.simulated{background:#fe9;padding:6px}img,svg{max-width:100%}";

    private static final String CONDITIONS = "(?:(.+)-)?conditions\\.json";
    private static final String PINNED = "CopyEngineBenchmark.pinned";
    private static final String RESTORE = "RestoreBenchmark.restore";

    private final StringBuilder page = new StringBuilder();

    private Report() {}

    /** One line of JMH's results. */
    private record Result(
            String benchmark,
            Map<String, String> parameters,
            double score,
            double error,
            String unit,
            Map<String, Double> counters) {
        boolean is(String name) {
            return benchmark.endsWith("." + name);
        }

        String parameter(String name) {
            return parameters.getOrDefault(name, "");
        }
    }

    /**
     * Makes the page.
     *
     * @param arguments the folders and the file to write
     * @throws IOException where one cannot be read or written
     */
    public static void main(String[] arguments) throws IOException {
        if (arguments.length < 2) {
            throw new IllegalArgumentException("usage: report FOLDER... FILE.html");
        }
        System.setProperty("java.awt.headless", "true");
        var runs = new ArrayList<Run>();
        for (String folder : List.of(arguments).subList(0, arguments.length - 1)) {
            runs.addAll(runs(Path.of(folder)));
        }
        Files.writeString(Path.of(arguments[arguments.length - 1]), new Report().make(runs));
    }

    /** What was measured together, under the same conditions. */
    private record Run(String title, Conditions conditions, List<Result> results, List<Timeline> timelines) {}

    private static List<Run> runs(Path folder) throws IOException {
        var runs = new ArrayList<Run>();
        for (Path conditions : files(folder, CONDITIONS)) {
            String name = conditions.getFileName().toString().replaceFirst(CONDITIONS, "$1");
            Path results = folder.resolve((name.isEmpty() ? "results" : name) + ".json");
            // Only a restore leaves timelines, and the names of those of two runs would be the same.
            List<Result> lines = results(results);
            boolean restores = lines.stream().anyMatch(result -> result.is(RESTORE));
            runs.add(new Run(
                    folder.toRealPath().getFileName() + "/" + results.getFileName(),
                    Conditions.read(conditions),
                    lines,
                    restores ? timelines(folder) : List.of()));
        }
        if (runs.isEmpty()) {
            throw new NoSuchFileException(folder + " holds no conditions.json and no NAME-conditions.json");
        }
        return runs;
    }

    private static List<Path> files(Path folder, String pattern) throws IOException {
        try (Stream<Path> files = Files.list(folder)) {
            return files.filter(path -> path.getFileName().toString().matches(pattern))
                    .sorted()
                    .toList();
        }
    }

    private String make(List<Run> runs) throws IOException {
        page.append("<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Rekindle benchmarks</title>")
                .append("<style>")
                .append(STYLE)
                .append("</style></head><body><h1>Rekindle benchmarks</h1>");
        for (Run run : runs) {
            page.append("<h2>").append(escape(run.title())).append("</h2>");
            conditions(run.conditions());
            restores(run.results());
            timelines(run.timelines());
            copies(run.results(), run.conditions());
            calls(run.results());
            table(run.results());
        }
        return page.append("</body></html>\n").toString();
    }

    private static List<Result> results(Path file) throws IOException {
        var results = new ArrayList<Result>();
        JsonArray array = JsonParser.parseString(Files.readString(file)).getAsJsonArray();
        for (JsonElement element : array) {
            JsonObject object = element.getAsJsonObject();
            var parameters = new TreeMap<String, String>();
            if (object.has("params")) {
                object.getAsJsonObject("params")
                        .entrySet()
                        .forEach(entry ->
                                parameters.put(entry.getKey(), entry.getValue().getAsString()));
            }
            JsonObject metric = object.getAsJsonObject("primaryMetric");
            var counters = new TreeMap<String, Double>();
            object.getAsJsonObject("secondaryMetrics")
                    .entrySet()
                    .forEach(entry ->
                            counters.put(entry.getKey(), mean(entry.getValue().getAsJsonObject())));
            results.add(new Result(
                    object.get("benchmark").getAsString(),
                    parameters,
                    metric.get("score").getAsDouble(),
                    number(metric.get("scoreError")),
                    metric.get("scoreUnit").getAsString(),
                    counters));
        }
        return results;
    }

    /** Of the single iterations: what JMH makes of a counter is their sum. */
    private static double mean(JsonObject metric) {
        double sum = 0;
        int count = 0;
        for (JsonElement fork : metric.getAsJsonArray("rawData")) {
            for (JsonElement iteration : fork.getAsJsonArray()) {
                sum += number(iteration);
                count++;
            }
        }
        return sum / count;
    }

    /** JMH writes "NaN" where there are too few samples. */
    private static double number(JsonElement element) {
        return Double.parseDouble(element.getAsString());
    }

    private void conditions(Conditions conditions) {
        if (conditions.gpu().startsWith("SIMULATED")) {
            page.append("<p class=\"simulated\">SIMULATED GPU: the device is memory of the machine; nothing here is a ")
                    .append("figure of a GPU.</p>");
        }
        page.append("<table>");
        row("GPU", conditions.gpu());
        row("driver", conditions.driver());
        row("CRIU", conditions.criu() + " (stock side " + conditions.stockCriu() + ")");
        row("kernel", conditions.kernel());
        row("cores", String.valueOf(conditions.cores()));
        row("Java", conditions.java());
        row("cache", conditions.cache());
        row("restored process", conditions.restoreMebibytes() + " MiB of device memory");
        row("time", conditions.time());
        page.append("</table>");
    }

    private void row(String name, String value) {
        page.append("<tr><th>")
                .append(escape(name))
                .append("</th><td>")
                .append(escape(value))
                .append("</td></tr>");
    }

    private void restores(List<Result> results) throws IOException {
        var byCache = new TreeMap<String, Map<String, Double>>();
        for (Result result : results) {
            if (result.is(RESTORE)) {
                byCache.computeIfAbsent(result.parameter("cache"), key -> new TreeMap<>())
                        .put(words(result.parameter("settings")), rounded(result.score()));
            }
        }
        if (byCache.isEmpty()) {
            return;
        }
        CategoryChart chart = new CategoryChartBuilder()
                .width(WIDTH)
                .height(380)
                .title("Restore")
                .xAxisTitle("page cache before the restore")
                .yAxisTitle("milliseconds")
                .build();
        var settings = new LinkedHashMap<String, Boolean>();
        byCache.values().forEach(scores -> scores.keySet().forEach(name -> settings.put(name, true)));
        List<String> caches = List.copyOf(byCache.keySet());
        for (String name : settings.keySet()) {
            List<Double> values = byCache.values().stream()
                    .map(scores -> scores.getOrDefault(name, 0.0))
                    .toList();
            chart.addSeries(name, caches.stream().map(Report::words).toList(), values);
        }
        chart.getStyler().setLabelsVisible(true).setLabelsFontColor(Color.BLACK);
        image(chart);
    }

    private static List<Timeline> timelines(Path folder) throws IOException {
        var timelines = new ArrayList<Timeline>();
        for (Path file : files(folder, "timeline-.*\\.json").reversed()) {
            timelines.add(Timeline.read(file));
        }
        return timelines;
    }

    private void timelines(List<Timeline> timelines) {
        if (!timelines.isEmpty()) {
            page.append("<h3>Where the time of a restore goes</h3>").append(TimelineDrawing.draw(timelines));
        }
    }

    private void copies(List<Result> results, Conditions conditions) throws IOException {
        List<Result> copies = results.stream()
                .filter(result -> result.is("CopyEngineBenchmark.copy") || result.is(PINNED))
                .toList();
        if (copies.isEmpty()) {
            return;
        }
        XYChart chart = new XYChartBuilder()
                .width(WIDTH)
                .height(440)
                .title("Host to device")
                .xAxisTitle("workers")
                .yAxisTitle("GB/s")
                .build();
        var series = new TreeMap<String, Map<Integer, Double>>();
        var workers = new TreeSet<Integer>();
        copies.stream()
                .filter(copy -> !copy.is(PINNED))
                .forEach(copy -> workers.add(Integer.valueOf(copy.parameter("workers"))));
        for (Result copy : copies) {
            double nanoseconds = copy.counters().getOrDefault("copyNanoseconds", Double.NaN);
            double rate = conditions.copyMebibytes() * 1048576.0 / nanoseconds;
            // The limit is measured once and drawn beside all numbers of workers.
            String source = copy.is(PINNED) ? "pinned" : words(copy.parameter("source"));
            Map<Integer, Double> points = series.computeIfAbsent(
                    source + ", " + copy.parameter("chunkMebibytes") + " MiB chunks", key -> new TreeMap<>());
            if (!copy.is(PINNED)) {
                points.put(Integer.valueOf(copy.parameter("workers")), rate);
            } else if (workers.isEmpty()) {
                points.put(1, rate);
            } else {
                workers.forEach(count -> points.put(count, rate));
            }
        }
        series.forEach((name, points) ->
                chart.addSeries(name, new ArrayList<>(points.keySet()), new ArrayList<>(points.values())));
        image(chart);
        page.append(
                "<p>Pinned memory through one stream is the limit of the machine: the copy engine is not in it.</p>");
    }

    private void calls(List<Result> results) throws IOException {
        List<Result> calls = results.stream()
                .filter(result -> result.benchmark().contains("FfmCall")
                        || result.benchmark().contains("ContextReuse"))
                .toList();
        if (calls.isEmpty()) {
            return;
        }
        CategoryChart chart = new CategoryChartBuilder()
                .width(WIDTH)
                .height(400)
                .title("Calls and contexts, nanoseconds (logarithmic)")
                .build();
        List<String> names = calls.stream()
                .map(call -> call.benchmark().substring(call.benchmark().lastIndexOf('.') + 1))
                .toList();
        List<Double> values = calls.stream()
                .map(call -> rounded(call.score() * (call.unit().startsWith("us") ? 1e3 : 1)))
                .toList();
        chart.addSeries("nanoseconds", names, values);
        chart.getStyler().setYAxisLogarithmic(true);
        chart.getStyler().setYAxisMin(1.0);
        chart.getStyler().setLegendVisible(false);
        chart.getStyler().setLabelsVisible(true).setLabelsFontColor(Color.BLACK);
        image(chart);
    }

    private void table(List<Result> results) {
        page.append(
                        "<h3>All results</h3><table><tr><th>benchmark</th><th>parameters</th><th>score</th><th>&plusmn;</th>")
                .append("<th>unit</th></tr>");
        for (Result result : results) {
            String name = result.benchmark().replaceFirst("^.*\\.(\\w+\\.\\w+)$", "$1");
            page.append("<tr><td>")
                    .append(escape(name))
                    .append("</td><td>")
                    .append(escape(result.parameters().toString()))
                    .append(String.format(Locale.ROOT, "</td><td class=\"n\">%.3f", result.score()))
                    .append(String.format(Locale.ROOT, "</td><td class=\"n\">%.3f", result.error()))
                    .append("</td><td>")
                    .append(escape(result.unit()))
                    .append("</td></tr>");
        }
        page.append("</table>");
    }

    private void image(Chart<?, ?> chart) throws IOException {
        chart.getStyler().setChartBackgroundColor(Color.WHITE);
        byte[] png = ChartEncoder.getBytes(chart, "png");
        page.append("<p><img alt=\"")
                .append(escape(chart.getTitle()))
                .append("\" src=\"data:image/png;base64,")
                .append(Base64.getEncoder().encodeToString(png))
                .append("\"></p>");
    }

    /** Bars are labelled with their values. */
    private static double rounded(double value) {
        return Math.rint(value * 10) / 10;
    }

    static String words(String constant) {
        return constant.toLowerCase(Locale.ROOT).replace('_', ' ');
    }

    static String escape(String text) {
        return text.replace("&", "&amp;")
                .replace("<", "&lt;")
                .replace(">", "&gt;")
                .replace("\"", "&quot;");
    }
}
