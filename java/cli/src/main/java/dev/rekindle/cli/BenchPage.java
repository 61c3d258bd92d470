// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/** One page, with no script and nothing outside it, of what a benchmark found: the ratio first, then how it came about. */
final class BenchPage {
    private final BenchResult result;
    private final StringBuilder page = new StringBuilder();

    private BenchPage(BenchResult result) {
        this.result = result;
    }

    static void write(Path file, BenchResult result) throws IOException {
        Files.writeString(file, new BenchPage(result).make());
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
                            "Seconds until the service was well. A dot is a run, the box is the middle half of them, and the"
                                    + " upright line their median.</figcaption></figure>\n");
            table(measured);
        }
        timelines(measured);
        return Page.of(title(), page);
    }

    private String title() {
        return String.join(" ", result.command());
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
        all.add("Linux " + conditions.kernel());
        all.add("CRIU " + conditions.criu());
        if (!conditions.stockCriu().isEmpty()) {
            all.add("stock side CRIU " + conditions.stockCriu()
                    + (conditions.stockPlugins() ? ", with its plugin" : ", without a plugin"));
        }
        all.add("images in " + conditions.imagesFileSystem());
        all.add(conditions.created().toString());
        return String.join(" · ", all);
    }

    private void table(List<BenchResult.SideResult> sides) {
        page.append("<figure><table><tr><th></th><th>runs</th><th>median</th><th>p95</th><th>p99</th><th>spread</th>")
                .append("<th>Rekindle is</th></tr>\n");
        for (BenchResult.SideResult side : sides) {
            BenchResult.Summary summary = java.util.Objects.requireNonNull(side.summary());
            page.append("<tr><td>").append(Page.escape(side.side().title()));
            for (String cell : List.of(
                    String.valueOf(side.seconds().size()),
                    Texts.seconds(summary.medianSeconds()),
                    Texts.seconds(summary.p95Seconds()),
                    Texts.seconds(summary.p99Seconds()),
                    Texts.seconds(summary.spreadSeconds()),
                    side.side() == BenchResult.Side.REKINDLE || summary.ratio() == null
                            ? ""
                            : Texts.ratio(summary.ratio()) + " as fast")) {
                page.append("</td><td>").append(cell);
            }
            page.append("</td></tr>\n");
        }
        page.append("</table></figure>\n");
    }

    private static String runs(List<BenchResult.SideResult> sides) {
        double longest = sides.stream()
                .flatMap(side -> side.seconds().stream())
                .mapToDouble(BenchPage::seconds)
                .max()
                .orElse(1);
        var drawing = SvgDrawing.ofSeconds(longest);
        for (BenchResult.SideResult side : sides) {
            List<Duration> sorted = side.seconds().stream().sorted().toList();
            drawing.row(side.side().title(), Texts.seconds(BenchResult.median(sorted)));
            String kind = side.side().name().toLowerCase(Locale.ROOT);
            drawing.box(
                    kind,
                    seconds(BenchResult.rank(sorted, 0.25)),
                    seconds(BenchResult.rank(sorted, 0.75)),
                    seconds(BenchResult.median(sorted)));
            side.seconds().forEach(run -> drawing.dot(kind, seconds(run)));
        }
        return drawing.draw("Seconds of every run");
    }

    /** Restores only: their last ones, stock before ours, on one scale. */
    private void timelines(List<BenchResult.SideResult> sides) {
        List<BenchResult.SideResult> restores = sides.stream()
                .filter(side -> side.lastRun() != null && !side.seconds().isEmpty())
                .toList();
        if (restores.isEmpty()) {
            return;
        }
        double longest = restores.stream()
                .mapToDouble(side -> seconds(side.seconds().getLast()))
                .max()
                .orElse(1);
        var drawing = SvgDrawing.ofSeconds(longest);
        for (BenchResult.SideResult side : restores) {
            RunView run = java.util.Objects.requireNonNull(side.lastRun());
            String kind = side.side().name().toLowerCase(Locale.ROOT);
            Duration all = side.seconds().getLast();
            drawing.row(side.side().title() + ", until well", Texts.seconds(all));
            drawing.bar(kind, 0, seconds(all));
            drawing.row("CRIU's own part", Texts.seconds(run.criu().restoreSeconds()));
            drawing.bar(kind + " box", 0, seconds(run.criu().restoreSeconds()));
            for (RunView.GpuProcess process : run.processes()) {
                for (RunView.Phase phase : process.phases()) {
                    drawing.row(
                            Texts.lower(phase.phase()) + (run.processes().size() > 1 ? " (" + process.pid() + ")" : ""),
                            Texts.seconds(phase.durationSeconds()));
                    drawing.bar(
                            kind + " box",
                            Math.max(0, seconds(phase.startSeconds())),
                            seconds(phase.durationSeconds()));
                }
            }
        }
        page.append("<h2>Where the time of the last restore went</h2>\n<figure>")
                .append(drawing.draw("Phases of the last restores"))
                .append("</figure>\n");
    }

    private static double seconds(Duration duration) {
        return duration.toNanos() / 1e9;
    }
}
