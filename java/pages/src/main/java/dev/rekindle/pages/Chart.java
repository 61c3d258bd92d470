// SPDX-License-Identifier: MIT
package dev.rekindle.pages;

import static java.util.Map.entry;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jetbrains.letsPlot.core.plot.base.scale.breaks.LinearBreaksHelper;
import org.jetbrains.letsPlot.core.util.PlotSvgExportCommon;

/**
 * Rows over one axis that begins at zero, in SVG, drawn by Lets-Plot, which needs neither AWT nor fonts. A row has its name
 * above it, so that it can be read on a phone too. Colours and fonts are the page's. For one thread at a time.
 */
public final class Chart {
    private static final int WIDTH = 400;
    /** Of a row, in pixels of which the chart is {@link #WIDTH} wide. */
    private static final int ROW = 41;
    /** Of all rows: the library draws no lower ones, and over the edge where they are to be. */
    private static final int LOWEST = 50;
    /** Of what the library puts above the rows, and of the axis below. */
    private static final int AROUND = 29;
    /** From the top of a row, in rows. */
    private static final double TEXT = 0.25;

    private static final double MARK = 0.68;
    private static final double THICK = 0.36;
    private static final double PALE = 0.35;
    /** Beside the axis, in lengths of it: room for half of a number below it. */
    private static final double LEFT = 0.045;

    private static final double RIGHT = 0.08;
    private static final int NUMBERS = 4;

    /** Letters that fit beside a value. */
    private static final int FITTING = 42;

    private static final String NAME = "name";
    private static final String VALUE = "value";
    private static final Pattern TEXTS = Pattern.compile(">(" + NAME + "|" + VALUE + ")(\\d+)<");

    /** Variables of the page's style sheet, in small letters. */
    public enum Colour {
        COLD_START(1),
        STOCK(2),
        PRIVATE(3),
        REKINDLE(4);

        private final int number;

        Colour(int number) {
            this.number = number;
        }

        private String standIn() {
            return Chart.standIn(number);
        }
    }

    private record Row(String name, String value) {}

    private record Bar(double row, double start, double end, Colour colour, double alpha) {}

    private record Run(double row, int number, double value, Colour colour) {}

    private record Text(int row, String kind, double x, double anchor) {}

    private final double larger;
    private final List<String> units;
    private final List<Row> rows = new ArrayList<>();
    private final List<Bar> bars = new ArrayList<>();
    private final List<Run> runs = new ArrayList<>();
    /** What the boxes are of: these runs, and where they are two, more at their middle. */
    private final List<Run> boxed = new ArrayList<>();

    private double longest;

    private Chart(double larger, String... units) {
        this.larger = larger;
        this.units = List.of(units);
    }

    /**
     * Of any unit.
     *
     * @param unit its name
     * @return a chart without rows
     */
    public static Chart of(String unit) {
        return new Chart(1, unit);
    }

    /**
     * Of seconds, which the axis shows in a unit that fits.
     *
     * @return a chart without rows
     */
    public static Chart ofSeconds() {
        return new Chart(1e-3, "s", "ms", "µs", "ns");
    }

    /**
     * Of bytes, which the axis shows in a unit that fits.
     *
     * @return a chart without rows
     */
    public static Chart ofBytes() {
        return new Chart(1024, "B", "KiB", "MiB", "GiB", "TiB");
    }

    /**
     * Begins a row: what follows is drawn in it.
     *
     * @param name what it is, of any characters
     * @param value what it comes to
     */
    public void row(String name, String value) {
        rows.add(new Row(name, value));
    }

    /**
     * A bar.
     *
     * @param colour its colour
     * @param start where it begins
     * @param length how long it is; a short one can be seen all the same
     */
    public void bar(Colour colour, double start, double length) {
        bar(colour, start, length, 1);
    }

    /**
     * A paler bar, of what is part of another.
     *
     * @param colour its colour
     * @param start where it begins
     * @param length how long it is; a short one can be seen all the same
     */
    public void part(Colour colour, double start, double length) {
        bar(colour, start, length, PALE);
    }

    private void bar(Colour colour, double start, double length, double alpha) {
        bars.add(new Bar(middle(), start, start + length, colour, alpha));
        longest = Math.max(longest, start + length);
    }

    /**
     * A box plot with a dot for each run.
     *
     * @param colour its colour
     * @param values of the runs, one at least
     */
    public void runs(Colour colour, List<Double> values) {
        for (int i = 0; i < values.size(); i++) {
            runs.add(new Run(middle(), i, values.get(i), colour));
            longest = Math.max(longest, values.get(i));
        }
        values.forEach(value -> boxed.add(new Run(middle(), 0, value, colour)));
        if (values.size() == 2) {
            // The library draws no box of two. Two more at their middle leave median and quartiles where they are.
            double middle = (values.getFirst() + values.getLast()) / 2;
            boxed.addAll(Collections.nCopies(2, new Run(middle(), 0, middle, colour)));
        }
    }

    private double middle() {
        return 1 - rows.size() - MARK;
    }

    /**
     * All of it.
     *
     * @param title what it shows
     * @return SVG
     */
    public String draw(String title) {
        double unit = 1;
        int name = 0;
        while (name < units.size() - 1 && (larger < 1 ? longest < unit : longest >= unit * larger)) {
            unit *= larger;
            name++;
        }
        double end = longest > 0 ? longest / unit : 1;
        String svg = PlotSvgExportCommon.INSTANCE.buildSvgImageFromRawSpecs(
                specification(unit, end, units.get(name)), null, Chart::noPicture, false);
        return finished(svg, title);
    }

    /** Nothing here is drawn of pixels. */
    private static String noPicture(int width, int height, int[] pixels) {
        throw new IllegalStateException("a chart of pixels");
    }

    /** As Lets-Plot takes it in any language. */
    private Map<String, Object> specification(double unit, double end, String unitName) {
        double left = -LEFT * end;
        double right = (1 + RIGHT) * end;
        var layers = new ArrayList<Map<String, Object>>();
        if (!bars.isEmpty()) {
            layers.add(bars(unit));
        }
        if (!runs.isEmpty()) {
            layers.add(boxes(unit));
            layers.add(dots(unit));
        }
        layers.add(texts(left, right));
        // The library's own choice for the limits below would have some beside the axis.
        List<Double> breaks = new LinearBreaksHelper(0, end, NUMBERS, false).getBreaks();
        Map<String, Object> x = Map.ofEntries(
                entry("aesthetic", "x"),
                entry("limits", List.of(left, right)),
                entry("breaks", breaks),
                entry("expand", List.of(0.0, 0.0)),
                entry("format", "{,} " + unitName));
        Map<String, Object> y = Map.ofEntries(
                entry("aesthetic", "y"),
                entry("limits", List.of((double) -rows.size(), 0.0)),
                entry("expand", List.of(0.0, 0.0)),
                entry("breaks", List.of()));
        Map<String, Object> theme = Map.ofEntries(
                entry("name", "minimal"),
                entry("plot_background", "blank"),
                entry("axis_title", "blank"),
                entry("panel_grid_minor", "blank"),
                entry("panel_grid_major_x", Map.of("name", "line", "color", standIn(0), "size", 1.0)));
        return Map.ofEntries(
                entry("kind", "plot"),
                entry("layers", layers),
                entry("scales", List.of(asItIs("fill"), asItIs("color"), asItIs("alpha"), x, y)),
                entry("theme", theme),
                entry("ggsize", Map.of("width", WIDTH, "height", height())));
    }

    private int height() {
        return Math.max(rows.size() * ROW, LOWEST) + AROUND;
    }

    /** A scale whose values are what is drawn. */
    private static Map<String, Object> asItIs(String aesthetic) {
        return Map.of("aesthetic", aesthetic, "scale_mapper_kind", "identity", "guide", "none");
    }

    private static <T> List<Object> column(List<T> things, Function<T, Object> value) {
        return things.stream().map(value).toList();
    }

    private Map<String, Object> bars(double unit) {
        Map<String, Object> data = Map.ofEntries(
                entry("xmin", column(bars, bar -> bar.start / unit)),
                entry("xmax", column(bars, bar -> bar.end / unit)),
                entry("ymin", column(bars, bar -> bar.row - THICK / 2)),
                entry("ymax", column(bars, bar -> bar.row + THICK / 2)),
                entry("fill", column(bars, bar -> bar.colour.standIn())),
                entry("color", column(bars, bar -> bar.colour.standIn())),
                entry("alpha", column(bars, Bar::alpha)));
        return Map.of("geom", "rect", "data", data, "mapping", byName(data), "size", 0.5);
    }

    private Map<String, Object> boxes(double unit) {
        Map<String, Object> data = runs(boxed, unit, 0);
        return Map.ofEntries(
                entry("geom", "boxplot"),
                entry("data", data),
                entry("mapping", byName(data)),
                entry("orientation", "y"),
                entry("width", THICK),
                entry("size", 0.5),
                entry("alpha", PALE),
                // Each run has its dot.
                entry("outlier_alpha", 0.0),
                entry("outlier_size", 0.0));
    }

    private Map<String, Object> dots(double unit) {
        Map<String, Object> data = runs(runs, unit, THICK / 4);
        return Map.of("geom", "point", "data", data, "mapping", byName(data), "size", 2.2);
    }

    /** Each on one of three lines, so that neighbours of about the same value are seen. */
    private static Map<String, Object> runs(List<Run> runs, double unit, double apart) {
        return Map.ofEntries(
                entry("x", column(runs, run -> run.value / unit)),
                entry("y", column(runs, run -> run.row + (run.number % 3 - 1) * apart)),
                entry("fill", column(runs, run -> run.colour.standIn())),
                entry("color", column(runs, run -> run.colour.standIn())),
                entry("group", column(runs, Run::row)));
    }

    /** What stands for those of all rows, which may be of any characters, until the library has drawn. */
    private Map<String, Object> texts(double left, double right) {
        List<Text> texts = IntStream.range(0, rows.size())
                .boxed()
                .flatMap(row -> Stream.of(new Text(row, NAME, left, 0), new Text(row, VALUE, right, 1)))
                .toList();
        Map<String, Object> data = Map.ofEntries(
                entry("x", column(texts, Text::x)),
                entry("y", column(texts, text -> -text.row - TEXT)),
                entry("label", column(texts, text -> text.kind + text.row)),
                entry("hjust", column(texts, Text::anchor)));
        return Map.of("geom", "text", "data", data, "mapping", byName(data));
    }

    /** Columns have the names of what they say of a mark. */
    private static Map<String, Object> byName(Map<String, Object> data) {
        return data.keySet().stream().collect(Collectors.toMap(name -> name, name -> name));
    }

    /** With the page's colours and fonts, the texts, and nothing that is another each time. */
    private String finished(String drawn, String title) {
        String described = rows.stream().map(row -> row.name + ": " + row.value).collect(Collectors.joining("; "));
        String svg = drawn.replaceFirst("(?s)<style.*?</style>", "")
                .replaceAll("(?s)<defs>.*?</defs>", "")
                .replaceAll(" (id|clip-path|clip-bounds-jfx)=\"[^\"]*\"", "")
                .replaceAll("<text style=\"[^\"]*\" fill-opacity=\"[^\"]*\"", "<text")
                .replaceAll("\\s*\n\\s*", "")
                .replaceAll("(\\.\\d\\d)\\d+(?=[^<]*>)", "$1")
                .replaceFirst("(?s)<svg [^>]*>", "");
        svg = coloured(svg, 0, "line");
        for (Colour colour : Colour.values()) {
            svg = coloured(svg, colour.number, colour.name().toLowerCase(Locale.ROOT));
        }
        svg = TEXTS.matcher(svg)
                .replaceAll(found -> Matcher.quoteReplacement(
                        ">" + text(found.group(1), rows.get(Integer.parseInt(found.group(2)))) + "<"));
        return "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\">"
                        .formatted(WIDTH, height())
                + "<title>" + Page.escape(title) + "</title>"
                + "<desc>" + Page.escape(described) + "</desc>"
                + svg.strip();
    }

    /** The library knows no variables of style sheets: a colour that has a number instead. */
    private static String standIn(int number) {
        return "#00000" + number;
    }

    private static String coloured(String svg, int number, String variable) {
        return svg.replaceAll("(" + standIn(number) + "|rgb\\(0,0," + number + "\\))(?=\")", "var(--" + variable + ")");
    }

    private static String text(String kind, Row row) {
        if (kind.equals(VALUE)) {
            return Page.escape(row.value);
        }
        return row.name.length() > FITTING
                ? Page.escape(shortened(row.name)) + "<title>" + Page.escape(row.name) + "</title>"
                : Page.escape(row.name);
    }

    /** As much of both ends as there is room for: those of files tell them apart. */
    private static String shortened(String name) {
        int half = FITTING / 2;
        return name.substring(0, half) + "…" + name.substring(name.length() - half + 1);
    }
}
