// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.util.List;
import java.util.Locale;

/**
 * Rows over an axis of seconds or bytes, in SVG, with colours that the page's style sheet gives to the classes. Drawn by hand: a
 * charting library needs AWT and fonts, which a server and the package's runtime do not have, and its colours are not those
 * of light and dark.
 */
final class SvgDrawing {
    private static final int WIDTH = 540;
    private static final int LEFT = 172;
    private static final int RIGHT = 66;
    private static final int ROW = 26;
    private static final int FEW_TICKS = 4;
    /** Letters in front of the axis. */
    private static final int FITTING = 24;

    private final double unit;
    private final String name;
    private final double step;
    private final double end;
    private final StringBuilder body = new StringBuilder();
    private int rows;

    /** The axis goes from zero to a round number that is not below the longest. */
    private SvgDrawing(double longest, double unit, String name) {
        this.unit = unit;
        this.name = name;
        double most = longest > 0 ? longest / unit : 1;
        double power = Math.pow(10, Math.floor(Math.log10(most / FEW_TICKS)));
        double rough = most / FEW_TICKS / power;
        step = power * (rough <= 1 ? 1 : rough <= 2 ? 2 : rough <= 5 ? 5 : 10);
        end = Math.ceil(most / step - 1e-9) * step;
    }

    static SvgDrawing ofSeconds(double longest) {
        return new SvgDrawing(longest, 1, "s");
    }

    static SvgDrawing ofBytes(double longest) {
        int power = (int) Math.clamp(Math.floor(Math.log(longest) / Math.log(1024)), 0, 4);
        return new SvgDrawing(
                longest,
                Math.pow(1024, power),
                List.of("B", "KiB", "MiB", "GiB", "TiB").get(power));
    }

    private double x(double value) {
        return at(value / unit);
    }

    private double at(double units) {
        return LEFT + Math.min(units, end) / end * (WIDTH - LEFT - RIGHT);
    }

    private int middle() {
        return rows * ROW - ROW / 2;
    }

    /** What follows is drawn in it. */
    void row(String name, String value) {
        rows++;
        String title = name.length() > FITTING ? "<title>" + Page.escape(name) + "</title>" : "";
        body.append(String.format(
                Locale.ROOT, "<text x=\"0\" y=\"%d\">%s%s</text>", middle() + 4, Page.escape(shortened(name)), title));
        body.append(String.format(
                Locale.ROOT,
                "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>",
                WIDTH,
                middle() + 4,
                Page.escape(value)));
    }

    /** As much of both ends as there is room for: those of files tell them apart. */
    private static String shortened(String name) {
        int half = FITTING / 2;
        return name.length() > FITTING
                ? name.substring(0, half) + "…" + name.substring(name.length() - half + 1)
                : name;
    }

    void bar(String kind, double start, double length) {
        double left = x(start);
        body.append(String.format(
                Locale.ROOT,
                "<rect class=\"%s\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>",
                kind,
                left,
                middle() - 8,
                Math.max(1.5, x(start + length) - left),
                16));
    }

    void box(String kind, double from, double to, double median) {
        bar(kind + " box", from, to - from);
        body.append(String.format(
                Locale.ROOT,
                "<line class=\"median\" x1=\"%1$.1f\" x2=\"%1$.1f\" y1=\"%2$d\" y2=\"%3$d\"/>",
                x(median),
                middle() - 10,
                middle() + 10));
    }

    void dot(String kind, double seconds) {
        body.append(String.format(
                Locale.ROOT, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%d\" r=\"4\"/>", kind, x(seconds), middle()));
    }

    String draw(String title) {
        int height = rows * ROW;
        var axis = new StringBuilder();
        int digits = step >= 1 ? 0 : (int) Math.ceil(-Math.log10(step) - 1e-9);
        for (int i = 0; i * step <= end + step / 2; i++) {
            double units = i * step;
            axis.append(String.format(
                    Locale.ROOT,
                    "<line x1=\"%1$.1f\" x2=\"%1$.1f\" y1=\"0\" y2=\"%2$d\"/><text class=\"soft\" x=\"%1$.1f\" y=\"%3$d\""
                            + " text-anchor=\"middle\">%4$." + digits + "f %5$s</text>",
                    at(units),
                    height,
                    height + 16,
                    units,
                    name));
        }
        return String.format(
                Locale.ROOT,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">%s%s</svg>",
                WIDTH,
                height + 22,
                Page.escape(title),
                axis,
                body);
    }
}
