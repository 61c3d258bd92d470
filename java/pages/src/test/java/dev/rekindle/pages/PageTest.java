// SPDX-License-Identifier: MIT
package dev.rekindle.pages;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Pages and charts, in a browser. */
class PageTest {
    @TempDir
    private Path folder;

    private Path page(String name, String body) throws Exception {
        return Files.writeString(folder.resolve(name + ".html"), Page.of("A page", body));
    }

    private static String draw(Chart chart, double longest) {
        chart.row("a name that is longer than there is room for, of a file deep down in folders.img", "123.456 GB/s");
        chart.runs(
                Chart.Colour.STOCK,
                Stream.of(0.1, 0.25, 0.5, 1.0).map(part -> longest * part).toList());
        chart.row("<short> & \"sweet\"", "0");
        chart.bar(Chart.Colour.REKINDLE, 0, 0);
        chart.row("all", "all");
        chart.part(Chart.Colour.REKINDLE, 0, longest);
        return "<figure>" + chart.draw("a & b") + "</figure>";
    }

    @Test
    void chartIsReadableWhateverItShows() throws Exception {
        var charts = new ArrayList<String>();
        for (double longest : List.of(0.000_000_3, 0.000_99, 0.07, 1.0, 3.3, 123_456.0)) {
            charts.add(draw(Chart.ofSeconds(), longest));
        }
        charts.add(draw(Chart.of("GB/s"), 99.9));
        charts.add(draw(Chart.ofBytes(), 5e10));
        Path page = page("charts", "<h1>Charts</h1>" + String.join("", charts));
        assertThat(Browser.assertWell(page, charts.size()).charts())
                .allSatisfy(chart -> assertThat(chart.marks()).isEqualTo(7));
    }

    /** Nothing of the library's own looks is left, nor what would differ from one page to the next. */
    @Test
    void coloursAndFontsAreThoseOfThePage() {
        String svg = draw(Chart.ofSeconds(), 2.5);
        assertThat(svg)
                .contains(
                        "<title>a &amp; b</title>",
                        "&lt;short&gt; &amp; &quot;sweet&quot;: 0;",
                        "var(--stock)",
                        "var(--line)")
                .contains(">0 s<", ">1 s<", ">2 s<")
                .doesNotContain("#0000", "rgb(", "font", "<style", "id=", "url(", "href")
                .isEqualTo(draw(Chart.ofSeconds(), 2.5));
        Chart nothing = Chart.ofBytes();
        nothing.row("value0", "0 B");
        assertThat(nothing.draw("nothing")).contains(">value0<", ">0 B<");
    }

    /** The middle half of them is what lies between their quarters. */
    @Test
    void twoRunsHaveABoxToo() {
        Chart chart = Chart.ofSeconds();
        chart.row("two", "1.5 s");
        chart.runs(Chart.Colour.STOCK, List.of(2.0, 1.0));
        Matcher box = Pattern.compile("<rect [^>]*? width=\"([0-9.]+)\"").matcher(chart.draw("two"));
        assertThat(box.find()).isTrue();
        // Of an axis of 2 s on 400 pixels, with room beside it.
        assertThat(Double.parseDouble(box.group(1))).isBetween(80.0, 100.0);
    }

    /** A phone shows each row as a list, so that nothing has to be scrolled sideways. */
    @Test
    void wideTableFitsOnAPhone() throws Exception {
        List<String> headings = List.of(
                "process",
                "threads",
                "mappings",
                "anonymous",
                "zero<br>repeated",
                "of files",
                "device",
                "stored",
                "mode");
        List<String> row = List.of(
                "python3 (123456)<br><small>python3 serve.py --model a/long/name</small>",
                "128",
                "40000",
                "123.4 GiB",
                "100.0 GiB<br>20.0 GiB",
                "12.3 GiB",
                "123.4 GiB",
                "123.4 GiB",
                "offload");
        Path page = page(
                "table",
                "<h1>Table</h1><figure>" + Page.table(headings, List.of(row, row)) + "</figure><figure>" + chartOfOne()
                        + "</figure>");
        Browser.assertWell(page, 1);
        assertThat(page).content().contains("<td data-name=\"zero, repeated\">");
    }

    private static String chartOfOne() {
        Chart chart = Chart.ofBytes();
        chart.row("one", "1 KiB");
        chart.bar(Chart.Colour.REKINDLE, 0, 1024);
        return chart.draw("one");
    }

    /** What would run into the value is told by both of its ends, and whole where somebody points at it. */
    @Test
    void longNamesAreShortened() {
        Chart chart = Chart.ofBytes();
        chart.row("rekindle-pages-635684-a1e5aa2d8b16b73bccd5023577c3d661.img", "3.0 MiB");
        chart.bar(Chart.Colour.REKINDLE, 0, 3 << 20);
        chart.row("pages-1.img", "4.0 KiB");
        assertThat(chart.draw("files"))
                .contains(
                        ">rekindle-pages-635684…ccd5023577c3d661.img<title>rekindle-pages-635684-a1e5aa2d8b16b73bccd5023577c3d661.img<")
                .contains(">pages-1.img</text>")
                .contains(">3 MiB</text>");
    }

    /** What the other tests of pages stand on. */
    @Test
    void whatIsWrongIsSeen() throws Exception {
        String chart = "<svg viewBox=\"0 0 400 40\"><text x=\"%s\" y=\"20\">one</text>"
                + "<text x=\"%s\" y=\"20\">another</text></svg>";
        Path wrong = page(
                "wrong",
                chart.formatted("0", "5") + chart.formatted("-10", "200") + chart.formatted("0", "200")
                        + "<figure><div style=\"width: 900px\">table</div></figure>"
                        + "<div style=\"width: 3000px\">wide</div><p>NaN of 1E5 {}</p><script>nothing.at.all</script>");
        List<String> problems = Browser.look(wrong, 390, false).problems();
        assertThat(problems).hasSize(8);
        assertThat(String.join("\n", problems))
                .containsSubsequence(
                        "one on the other: one and another",
                        "cut off: one",
                        "has to be scrolled: table",
                        "wider than the window",
                        "says NaN",
                        "says 1E5",
                        "says {}",
                        "nothing is not defined");
    }
}
