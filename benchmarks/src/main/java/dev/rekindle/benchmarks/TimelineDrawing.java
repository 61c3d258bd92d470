// SPDX-License-Identifier: MIT
package dev.rekindle.benchmarks;

import java.util.List;
import java.util.Locale;

/** Phases of restores under each other, on one scale. */
final class TimelineDrawing {
    private static final int WIDTH = 900;
    private static final int LEFT = 230;
    private static final int BAR = 18;
    private static final String[] COLOURS = {"#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2"};

    private TimelineDrawing() {}

    static String draw(List<Timeline> timelines) {
        double longest =
                timelines.stream().mapToDouble(Timeline::milliseconds).max().orElse(1);
        double scale = (WIDTH - LEFT - 90) / longest;
        var body = new StringBuilder();
        int top = 0;
        for (Timeline timeline : timelines) {
            top += 24;
            text(
                    body,
                    0,
                    top,
                    "%s, %s cache: %.0f ms"
                            .formatted(
                                    Report.words(timeline.settings()),
                                    Report.words(timeline.cache()),
                                    timeline.milliseconds()),
                    "bold");
            int colour = 0;
            for (Timeline.Bar bar : timeline.bars()) {
                top += BAR + 4;
                text(body, 12, top, bar.name(), "normal");
                body.append(String.format(
                        Locale.ROOT,
                        "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>",
                        LEFT + Math.max(0, bar.start()) * scale,
                        top - BAR + 4,
                        Math.max(1, bar.duration() * scale),
                        BAR,
                        COLOURS[colour++ % COLOURS.length]));
                text(
                        body,
                        LEFT + (int) ((Math.max(0, bar.start()) + bar.duration()) * scale) + 5,
                        top,
                        "%.1f ms".formatted(bar.duration()),
                        "normal");
            }
            top += 8;
        }
        return String.format(
                Locale.ROOT,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\""
                        + " font-size=\"13\">%s</svg>",
                WIDTH,
                top + 12,
                body);
    }

    private static void text(StringBuilder body, int x, int y, String text, String weight) {
        body.append(
                "<text x=\"%d\" y=\"%d\" font-weight=\"%s\">%s</text>".formatted(x, y, weight, Report.escape(text)));
    }
}
