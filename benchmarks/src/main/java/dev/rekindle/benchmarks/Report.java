// SPDX-License-Identifier: MIT
package dev.rekindle.benchmarks;

import dev.rekindle.pages.Chart;
import dev.rekindle.pages.Page;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * One page, with nothing outside it, of the JSON files that runs of the benchmarks left in folders: {@code results.json}
 * with {@code conditions.json}, or any {@code NAME.json} with {@code NAME-conditions.json}.
 */
public final class Report {
    private static final String CONDITIONS = "(?:(.+)-)?conditions\\.json";
    private static final String PINNED = "CopyEngineBenchmark.pinned";
    private static final String COPY = "CopyEngineBenchmark.copy";
    private static final String RESTORE = "RestoreBenchmark.restore";
    /** Those of a restore, stock before ours. */
    private static final List<Side> SIDES = List.of(
            new Side("STOCK", "stock CRIU", Chart.Colour.STOCK),
            new Side("REKINDLE_PRIVATE_POOL", "Rekindle, a pool of its own", Chart.Colour.PRIVATE),
            new Side("REKINDLE_WARM_POOL", "Rekindle, a warm pool", Chart.Colour.REKINDLE));

    private final StringBuilder page = new StringBuilder();

    private Report() {}

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
        Path file = Path.of(arguments[arguments.length - 1]);
        Page.check(file);
        var runs = new ArrayList<Run>();
        for (String folder : List.of(arguments).subList(0, arguments.length - 1)) {
            runs.addAll(runs(Path.of(folder)));
        }
        Files.writeString(file, new Report().make(runs));
    }

    /** Name in the results, name for people, and colour. */
    private record Side(String settings, String title, Chart.Colour colour) {
        static Side of(String settings) {
            return SIDES.stream()
                    .filter(side -> side.settings.equals(settings))
                    .findFirst()
                    .orElse(new Side(settings, words(settings), Chart.Colour.REKINDLE));
        }

        String title(String cache) {
            return title + ", " + words(cache) + " cache";
        }
    }

    /** What was measured together, under the same conditions. */
    private record Run(Conditions conditions, List<JmhResult> results, List<Timeline> timelines) {
        boolean has(String name) {
            return results.stream().anyMatch(result -> result.benchmark().contains(name));
        }

        String title() {
            var all = new ArrayList<String>();
            if (has("RestoreBenchmark")) {
                all.add("Restore of a process with %d MiB of device memory".formatted(conditions.restoreMebibytes()));
            }
            if (has("CopyEngineBenchmark")) {
                all.add("Host to device, %d MiB".formatted(conditions.copyMebibytes()));
            }
            if (has("ContextReuseBenchmark")) {
                all.add("A context, cold and warm");
            }
            if (has("FfmCallBenchmark")) {
                all.add("What a call from Java costs");
            }
            return String.join("; ", all);
        }

        Optional<JmhResult> restore(String settings, String cache) {
            return results.stream()
                    .filter(result -> result.is(RESTORE)
                            && result.parameter("settings").equals(settings)
                            && result.parameter("cache").equals(cache))
                    .findFirst();
        }

        /** How many times as fast as stock CRIU Rekindle is with a warm pool. */
        Optional<Double> ratio(String cache) {
            return restore("STOCK", cache)
                    .flatMap(stock -> restore("REKINDLE_WARM_POOL", cache).map(ours -> stock.median() / ours.median()));
        }
    }

    private static List<Run> runs(Path folder) throws IOException {
        var runs = new ArrayList<Run>();
        for (Path conditions : files(folder, CONDITIONS)) {
            String name = conditions.getFileName().toString().replaceFirst(CONDITIONS, "$1");
            Path results = folder.resolve((name.isEmpty() ? "results" : name) + ".json");
            // Only a restore leaves timelines, and the names of those of two runs would be the same.
            List<JmhResult> lines = JmhResult.read(results);
            boolean restores = lines.stream().anyMatch(result -> result.is(RESTORE));
            runs.add(new Run(Conditions.read(conditions), lines, restores ? timelines(folder) : List.of()));
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

    private static List<Timeline> timelines(Path folder) throws IOException {
        var timelines = new ArrayList<Timeline>();
        for (Path file : files(folder, "timeline-.*\\.json")) {
            timelines.add(Timeline.read(file));
        }
        timelines.sort(Comparator.comparing(Timeline::cache)
                .reversed()
                .thenComparingInt(timeline -> SIDES.indexOf(Side.of(timeline.settings()))));
        return timelines;
    }

    private String make(List<Run> runs) {
        // Restores first: they are what all the rest is for.
        List<Run> ordered = runs.stream()
                .sorted(Comparator.comparing(run -> !run.has("RestoreBenchmark")))
                .toList();
        headline(ordered);
        for (Run run : ordered) {
            page.append("<h2>").append(Page.escape(run.title())).append("</h2>\n");
            conditions(run.conditions());
            restores(run);
            timelines(run.timelines());
            copies(run);
            calls(run.results());
            table(run.results());
        }
        return Page.of("Rekindle benchmarks", page);
    }

    private void headline(List<Run> runs) {
        Optional<Run> restores =
                runs.stream().filter(run -> run.ratio("WARM").isPresent()).findFirst();
        if (restores.isEmpty()) {
            page.append("<h1>Rekindle benchmarks</h1>\n");
            return;
        }
        page.append("<h1><b>")
                .append(ratio(restores.get().ratio("WARM").orElseThrow()))
                .append("</b> the speed of a stock CRIU restore</h1>\n");
        restores.get()
                .ratio("COLD")
                .ifPresent(cold -> page.append("<p>and <strong>")
                        .append(ratio(cold))
                        .append("</strong> with image files that are on the disk alone.</p>\n"));
    }

    private void conditions(Conditions conditions) {
        if (conditions.gpu().startsWith("SIMULATED")) {
            page.append("<p class=\"warning\">SIMULATED GPU: these times say nothing about a GPU.</p>\n");
        }
        page.append("<p class=\"soft\">")
                .append(Page.escape(String.join(
                        " · ",
                        conditions.gpu(),
                        "driver " + conditions.driver(),
                        "CRIU " + conditions.criu() + " (stock side " + conditions.stockCriu() + ")",
                        "Linux " + conditions.kernel(),
                        conditions.cores() + " cores",
                        "Java " + conditions.java(),
                        conditions.cache(),
                        conditions.time())))
                .append("</p>\n");
    }

    private void restores(Run run) {
        List<JmhResult> restores = Stream.of("WARM", "COLD")
                .flatMap(cache -> SIDES.stream().flatMap(side -> run.restore(side.settings(), cache).stream()))
                .toList();
        if (restores.isEmpty()) {
            return;
        }
        Chart chart = Chart.ofSeconds();
        for (JmhResult restore : restores) {
            Side side = Side.of(restore.parameter("settings"));
            box(chart, side.title(restore.parameter("cache")), side.colour(), restore);
        }
        figure(
                chart.draw("Every restore"),
                "Seconds from the call until the process runs. A dot is a restore; the box is the middle half"
                        + " of them with their median, and the thin lines reach as far as those that are no outliers.");
    }

    private static void box(Chart chart, String name, Chart.Colour colour, JmhResult result) {
        chart.row(name, duration(result.nanoseconds(result.median())));
        if (result.runs().isEmpty()) {
            chart.part(colour, result.nanoseconds(result.median()) / 1e9, 0);
        } else {
            chart.runs(
                    colour,
                    result.runs().stream()
                            .map(run -> result.nanoseconds(run) / 1e9)
                            .toList());
        }
    }

    /** Those of the same cache on one scale, stock before ours. */
    private void timelines(List<Timeline> timelines) {
        Map<String, List<Timeline>> byCache = timelines.stream().collect(Collectors.groupingBy(Timeline::cache));
        for (String cache : List.of("WARM", "COLD")) {
            List<Timeline> all = byCache.getOrDefault(cache, List.of());
            if (all.isEmpty()) {
                continue;
            }
            Chart chart = Chart.ofSeconds();
            for (Timeline timeline : all) {
                Side side = Side.of(timeline.settings());
                chart.row(side.title(cache), duration(timeline.milliseconds() * 1e6));
                chart.bar(side.colour(), 0, timeline.milliseconds() / 1e3);
                for (Timeline.Bar bar : timeline.bars().stream()
                        .sorted(Comparator.comparingDouble(Timeline.Bar::start))
                        .toList()) {
                    chart.row(bar.name(), duration(bar.duration() * 1e6));
                    chart.part(side.colour(), Math.max(0, bar.start()) / 1e3, bar.duration() / 1e3);
                }
            }
            page.append("<h3>Where the time of the last restores went, ")
                    .append(words(cache))
                    .append(" cache</h3>\n<figure>")
                    .append(chart.draw("Phases of the last restores"))
                    .append("</figure>\n");
        }
    }

    private void copies(Run run) {
        List<JmhResult> copies = run.results().stream()
                .filter(result -> result.is(COPY) || result.is(PINNED))
                .filter(result -> result.copyNanoseconds().isPresent())
                .toList();
        if (copies.isEmpty()) {
            return;
        }
        Chart chart = Chart.of("GB/s");
        for (JmhResult copy : copies) {
            String chunks = copy.parameter("chunkMebibytes") + " MiB chunks";
            chart.row(
                    copy.is(PINNED)
                            ? "pinned memory, one stream, " + chunks
                            : "%s, %s, %s"
                                    .formatted(
                                            words(copy.parameter("source")),
                                            workers(copy.parameter("workers")),
                                            chunks),
                    String.format(Locale.ROOT, "%.1f GB/s", rate(run, copy)));
            chart.bar(copy.is(PINNED) ? Chart.Colour.COLD_START : Chart.Colour.REKINDLE, 0, rate(run, copy));
        }
        figure(
                chart.draw("Rates of copies"),
                "Means of what the copy itself took. Pinned memory through one stream is the"
                        + " limit of the machine: the copy engine is not in it.");
    }

    private static String workers(String number) {
        return number.equals("1") ? "1 worker" : number + " workers";
    }

    private static double rate(Run run, JmhResult copy) {
        return run.conditions().copyMebibytes()
                * 1048576.0
                / copy.copyNanoseconds().orElseThrow();
    }

    private void calls(List<JmhResult> results) {
        List<JmhResult> calls = results.stream()
                .filter(result -> result.is("FfmCallBenchmark." + method(result)))
                .toList();
        if (!calls.isEmpty()) {
            Chart chart = Chart.ofSeconds();
            calls.forEach(call -> box(chart, words(method(call)), Chart.Colour.REKINDLE, call));
            figure(chart.draw("Calls"), "The time of a call; a dot is the mean of an iteration.");
        }
        // A warm lease takes less than a thousandth of them, which no scale shows beside them.
        List<JmhResult> contexts = results.stream()
                .filter(result ->
                        result.is("ContextReuseBenchmark.coldContext") || result.is("ContextReuseBenchmark.newContext"))
                .sorted(Comparator.comparing(JmhResult::benchmark))
                .toList();
        if (!contexts.isEmpty()) {
            Chart chart = Chart.ofSeconds();
            contexts.forEach(context -> box(
                    chart,
                    context.is("ContextReuseBenchmark.coldContext")
                            ? "cuInit and a context, in a new process"
                            : "a context and its end, in a process that has none",
                    Chart.Colour.COLD_START,
                    context));
            results.stream()
                    .filter(result -> result.is("ContextReuseBenchmark.warmLease"))
                    .findFirst()
                    .ifPresent(lease -> chart.row(
                            "a lease from a warm pool, and its return", duration(lease.nanoseconds(lease.median()))));
            figure(chart.draw("Contexts"), "A dot is one of them.");
        }
    }

    private static String method(JmhResult result) {
        return result.benchmark().substring(result.benchmark().lastIndexOf('.') + 1);
    }

    private void table(List<JmhResult> results) {
        var rows = new ArrayList<List<String>>();
        for (JmhResult result : results) {
            String parameters = result.parameters().entrySet().stream()
                    .map(parameter -> parameter.getKey() + " " + words(parameter.getValue()))
                    .collect(Collectors.joining(", "));
            rows.add(List.of(
                    Page.escape(result.name())
                            + (parameters.isEmpty() ? "" : "<br><small>" + Page.escape(parameters) + "</small>"),
                    String.valueOf(result.runs().size()),
                    duration(result.nanoseconds(result.score())),
                    result.error()
                            .map(error -> duration(result.nanoseconds(error)))
                            .orElse("-"),
                    duration(result.nanoseconds(result.median())),
                    duration(result.nanoseconds(result.rank(0.95))),
                    duration(result.nanoseconds(result.rank(0.99)))));
        }
        page.append("<details><summary>All results</summary><figure>")
                .append(Page.table(List.of("benchmark", "runs", "mean", "&plusmn;", "median", "p95", "p99"), rows))
                .append("</figure></details>\n");
    }

    private void figure(String drawing, String caption) {
        page.append("<figure>")
                .append(drawing)
                .append("<figcaption>")
                .append(Page.escape(caption))
                .append("</figcaption></figure>\n");
    }

    /** In the unit in which it has one to three digits before the point. */
    static String duration(double nanoseconds) {
        double value = nanoseconds;
        for (String unit : List.of("ns", "µs", "ms")) {
            if (value < 999.95) {
                return String.format(Locale.ROOT, value < 10 ? "%.2f %s" : "%.1f %s", value, unit);
            }
            value /= 1000;
        }
        return String.format(Locale.ROOT, "%.2f s", value);
    }

    private static String ratio(double ratio) {
        return String.format(Locale.ROOT, ratio < 10 ? "%.2f×" : "%.1f×", ratio);
    }

    /** A constant, or a name in camel case, as words. */
    static String words(String name) {
        return name.replaceAll("([a-z])([A-Z])", "$1 $2")
                .toLowerCase(Locale.ROOT)
                .replace('_', ' ');
    }
}
