// SPDX-License-Identifier: MIT
package dev.rekindle.pages;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;

/** What pages for people have in common: no script, nothing outside them, light and dark, readable on a phone. */
public final class Page {
    private static final String STYLE = """
            :root { color-scheme: light dark; --ink: #1d2129; --soft: #667085; --line: #d5d9e0; --paper: #fff;
              --cold_start: #98a2b3; --stock: #dd7a1e; --private: #8a63d2; --rekindle: #2f6fde; }
            @media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --soft: #98a2b3; --line: #3a404b; --paper: #15181d;
              --cold_start: #7b8494; --stock: #e8954a; --private: #b294f0; --rekindle: #6c9dff; } }
            body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 54rem;
              margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
            h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .3rem; }
            h1 b { color: var(--rekindle); }
            h2 { font-size: 1.1rem; margin: 2.2rem 0 .5rem; } h3 { font-size: 1rem; margin: 1.4rem 0 .5rem; }
            summary { color: var(--soft); cursor: pointer; }
            p.soft, figcaption { color: var(--soft); font-size: .9rem; }
            p.warning { border: 1px solid var(--stock); border-radius: 6px; padding: .4rem .8rem; }
            figure { margin: 0; overflow-x: auto; }
            svg { width: 100%; max-width: 33rem; display: block; font: 12.5px system-ui, sans-serif; }
            svg text { fill: var(--ink); paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round; }
            svg .axis-text-x { fill: var(--soft); }
            table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
            th, td { text-align: right; padding: .2rem .4rem; white-space: nowrap; border-bottom: 1px solid var(--line);
              font-size: .9rem; vertical-align: top; }
            th:first-child, td:first-child { text-align: left; padding-left: 0; }
            td:first-child { white-space: normal; min-width: 9rem; } small { color: var(--soft); }
            figcaption { margin: .4rem 0 1rem; }
            @media (max-width: 40rem) { h1 { font-size: 1.6rem; }
              table, tbody, tr { display: block; } tr { padding: .4rem 0; border-bottom: 1px solid var(--line); }
              tr:first-child { display: none; }
              td { display: flex; justify-content: space-between; gap: 1rem; padding: .1rem 0; border: 0; white-space: normal; }
              td:first-child { display: block; }
              td:not(:first-child)::before { content: attr(data-name); color: var(--soft); text-align: left; }
              td:not(:first-child):empty { display: none; } }
            """;

    private Page() {}

    /**
     * A page.
     *
     * @param title its title, of any characters
     * @param body HTML
     * @return all of it
     */
    public static String of(String title, CharSequence body) {
        return """
                <!DOCTYPE html>
                <html lang="en"><head><meta charset="utf-8">
                <meta name="viewport" content="width=device-width, initial-scale=1"><title>%s</title><style>
                %s</style></head><body>
                %s</body></html>
                """.formatted(escape(title), STYLE, body);
    }

    /**
     * A table, of which a phone shows each row as a list of names and values.
     *
     * @param headings HTML, one for each column
     * @param rows HTML, each with a cell for each heading; the first names the row
     * @return HTML
     */
    public static String table(List<String> headings, List<List<String>> rows) {
        var table = new StringBuilder("<table><tr>");
        headings.forEach(heading -> table.append("<th>").append(heading).append("</th>"));
        for (List<String> row : rows) {
            table.append("</tr>\n<tr>");
            for (int i = 0; i < row.size(); i++) {
                table.append("<td data-name=\"")
                        .append(headings.get(i).replace("<br>", ", "))
                        .append("\">")
                        .append(row.get(i))
                        .append("</td>");
            }
        }
        return table.append("</tr>\n</table>").toString();
    }

    /**
     * To be called before anything is done for a page; what it is made of stays.
     *
     * @param file where it is to go
     * @param source what it is made of
     * @throws IOException where neither can be looked at
     * @throws IllegalArgumentException where it cannot go there
     */
    public static void check(Path file, Path source) throws IOException {
        if (Files.exists(file) && Files.exists(source) && Files.isSameFile(file, source)) {
            throw new IllegalArgumentException("the page cannot go to " + file + ", which it is made of");
        }
        check(file);
    }

    /**
     * To be called before anything is done for a page.
     *
     * @param file where it is to go
     * @throws IllegalArgumentException where it cannot go there
     */
    public static void check(Path file) {
        Path folder = file.toAbsolutePath().getParent();
        if (folder == null || !Files.isDirectory(folder) || Files.isDirectory(file)) {
            throw new IllegalArgumentException(
                    "the page cannot go to " + file + ": name a file in a folder that exists");
        }
    }

    /**
     * For HTML.
     *
     * @param text of any characters
     * @return what shows them
     */
    public static String escape(String text) {
        return text.chars()
                .mapToObj(character -> switch (character) {
                    case '&' -> "&amp;";
                    case '<' -> "&lt;";
                    case '>' -> "&gt;";
                    case '"' -> "&quot;";
                    default -> String.valueOf((char) character);
                })
                .collect(Collectors.joining());
    }
}
