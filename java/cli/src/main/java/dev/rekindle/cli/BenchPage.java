// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.pages.Chart;
import dev.rekindle.pages.Page;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.Optional;

/** One page, with no script and nothing outside it, of what a benchmark found: the ratio first, then how it came about. */
final class BenchPage {
    private final BenchResult result;
    private final StringBuilder page = new StringBuilder();

    private BenchPage(BenchResult result) {
        this.result = result;
    }

    static void write(Path file, BenchResult result) {
        WholeFile.write(file, of(result));
    }

    /** Throws a NullPointerException or an IndexOutOfBoundsException where the result lacks what the page shows. */
    static String of(BenchResult result) {
        return new BenchPage(result).make();
    }

    private String make() {
        headline();
        List<BenchResult.SideResult> measured =
                result.sides().stream().filter(side -> side.summary() != null).toList();
        if (!measured.isEmpty()) {
            page.append("<h2>Every run</h2>\n<figure>")
                    .append(runs(measured))
                    .append("<figcaption>")
                    .append(
                            "Seconds until the service was well. A dot is a run; the box is the middle half of them with"
                                    + " their median, and the thin lines reach as far as those that are no outliers."
                                    + "</figcaption></figure>\n");
            table(measured);
        }
        timelines(measured);
        return Page.of(title(), page);
    }

    private String title() {
        return String.join(" ", List.copyOf(result.command())); // which has no null in it
    }

    private void headline() {
        Optional<Double> stock = result.ratio(BenchResult.Side.STOCK);
        Optional<Double> cold = result.ratio(BenchResult.Side.COLD_START);
        page.append("<h1>");
        if (stock.isPresent() || cold.isPresent()) {
            page.append("<b>")
                    .append(Texts.ratio(stock.or(() -> cold).orElseThrow()))
                    .append("</b> the speed of ")
                    .append(stock.isPresent() ? "a stock CRIU restore" : "a cold start");
        } else {
            page.append("Nothing to compare");
        }
        page.append("</h1>\n");
        if (stock.isPresent() && cold.isPresent()) {
            page.append("<p>and <strong>")
                    .append(Texts.ratio(cold.get()))
                    .append("</strong> that of a cold start.</p>\n");
        }
        BenchResult.Conditions conditions = result.conditions();
        if (conditions.simulated()) {
            page.append("<p class=\"warning\">SIMULATED GPU: these times say nothing about a GPU.</p>\n");
        }
        for (BenchResult.SideResult side : result.sides()) {
            if (!side.failure().isEmpty()) {
                page.append("<p class=\"warning\">")
                        .append(Page.escape(side.side().title() + " was given up: " + side.failure()))
                        .append("</p>\n");
            }
        }
        page.append("<p class=\"soft\">")
                .append(Page.escape(conditions(conditions)))
                .append("</p>\n");
        for (String reason : result.notCold()) {
            page.append("<p class=\"soft\">")
                    .append(Page.escape("Not cold: " + reason))
                    .append("</p>\n");
        }
    }

    private String conditions(BenchResult.Conditions conditions) {
        var all = new ArrayList<String>();
        all.add(title());
        all.add(result.rounds() + " rounds, " + Texts.lower(result.cache()) + " caches");
        all.add(conditions.gpu().isEmpty() ? "no GPU used" : conditions.gpu());
        all.add(conditions.cores() + " cores");
        all.add(named("Linux", conditions.kernel()));
        all.add(named("CRIU", conditions.criu()));
        if (!conditions.stockCriu().isEmpty()) {
            all.add("stock side CRIU " + conditions.stockCriu()
                    + (conditions.stockPlugins() ? ", with its plugin" : ", without a plugin"));
        }
        all.add(named("images in", conditions.imagesFileSystem()));
        all.add(conditions.created().toString());
        return String.join(" · ", all);
    }

    /** A document that was read may lack it. */
    private static String named(String what, String name) {
        return what + " " + Objects.requireNonNull(name);
    }

    private void table(List<BenchResult.SideResult> sides) {
        var rows = new ArrayList<List<String>>();
        for (BenchResult.SideResult side : sides) {
            BenchResult.Summary summary = Objects.requireNonNull(side.summary());
            rows.add(List.of(
                    Page.escape(side.side().title()),
                    String.valueOf(side.seconds().size()),
                    Texts.seconds(summary.medianSeconds()),
                    side.side() == BenchResult.Side.REKINDLE || summary.ratio() == null
                            ? ""
                            : Texts.ratio(summary.ratio()),
                    Texts.seconds(summary.p95Seconds()),
                    Texts.seconds(summary.p99Seconds()),
                    Texts.seconds(summary.spreadSeconds())));
        }
        page.append("<figure>")
                .append(Page.table(List.of("", "runs", "median", "ratio", "p95", "p99", "spread"), rows))
                .append("<figcaption>The ratio says how many times as fast as a side Rekindle is, by their medians.")
                .append("</figcaption></figure>\n");
    }

    private static String runs(List<BenchResult.SideResult> sides) {
        Chart chart = Chart.ofSeconds();
        for (BenchResult.SideResult side : sides) {
            List<Duration> sorted = side.seconds().stream().sorted().toList();
            chart.row(side.side().title(), Texts.seconds(BenchResult.median(sorted)));
            chart.runs(colour(side), sorted.stream().map(BenchPage::seconds).toList());
        }
        return chart.draw("Seconds of every run");
    }

    private static Chart.Colour colour(BenchResult.SideResult side) {
        return Chart.Colour.valueOf(side.side().name());
    }

    /** Restores only: their last ones, stock before ours, on one scale. */
    private void timelines(List<BenchResult.SideResult> sides) {
        List<BenchResult.SideResult> restores = sides.stream()
                .filter(side -> side.lastRun() != null && !side.seconds().isEmpty())
                .toList();
        if (restores.isEmpty()) {
            return;
        }
        Chart chart = Chart.ofSeconds();
        for (BenchResult.SideResult side : restores) {
            RunView run = Objects.requireNonNull(side.lastRun());
            Duration all = side.seconds().getLast();
            chart.row(side.side().title() + ", until well", Texts.seconds(all));
            chart.bar(colour(side), 0, seconds(all));
            chart.row("CRIU's own part", Texts.seconds(run.criu().restoreSeconds()));
            chart.part(colour(side), 0, seconds(run.criu().restoreSeconds()));
            for (RunView.GpuProcess process : run.processes()) {
                for (RunView.Phase phase : process.phases().stream()
                        .sorted(Comparator.comparing(RunView.Phase::startSeconds))
                        .toList()) {
                    chart.row(
                            Texts.lower(phase.phase()) + (run.processes().size() > 1 ? " (" + process.pid() + ")" : ""),
                            Texts.seconds(phase.durationSeconds()));
                    chart.part(
                            colour(side), Math.max(0, seconds(phase.startSeconds())), seconds(phase.durationSeconds()));
                }
            }
        }
        page.append("<h2>Where the time of the last restore went</h2>\n<figure>")
                .append(chart.draw("Phases of the last restores"))
                .append("</figure>\n");
    }

    private static double seconds(Duration duration) {
        return duration.toNanos() / 1e9;
    }
}
