// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Collectors;

/** What pages for people have in common: no script, nothing outside them, light and dark, readable on a phone. */
final class Page {
    private static final String STYLE = """
            :root { color-scheme: light dark; --ink: #1d2129; --soft: #667085; --line: #d5d9e0; --paper: #fff;
              --cold_start: #98a2b3; --stock: #dd7a1e; --rekindle: #2f6fde; }
            @media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --soft: #98a2b3; --line: #3a404b; --paper: #15181d;
              --cold_start: #7b8494; --stock: #e8954a; --rekindle: #6c9dff; } }
            body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 48rem;
              margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
            h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .3rem; }
            h1 b { color: var(--rekindle); }
            h2 { font-size: 1.1rem; margin: 2.2rem 0 .5rem; }
            p.soft, figcaption { color: var(--soft); font-size: .9rem; }
            p.warning { border: 1px solid var(--stock); border-radius: 6px; padding: .4rem .8rem; }
            figure { margin: 0; overflow-x: auto; }
            svg { width: 100%; display: block; font: 12px system-ui, sans-serif; }
            svg text { fill: var(--ink); } svg .soft { fill: var(--soft); }
            svg line { stroke: var(--line); } svg line.median { stroke: var(--ink); stroke-width: 2; }
            .process { fill: var(--rekindle); } .cold_start { fill: var(--cold_start); } .stock { fill: var(--stock); } .rekindle { fill: var(--rekindle); }
            .box { fill-opacity: .35; }
            table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
            th, td { text-align: right; padding: .2rem .4rem; white-space: nowrap; border-bottom: 1px solid var(--line);
              font-size: .9rem; vertical-align: top; }
            th:first-child, td:first-child { text-align: left; padding-left: 0; }
            td:first-child { white-space: normal; min-width: 9rem; } small { color: var(--soft); }
            figcaption { margin: .4rem 0 1rem; }
            """;

    private Page() {}

    static String of(String title, CharSequence body) {
        return """
                <!DOCTYPE html>
                <html lang="en"><head><meta charset="utf-8">
                <meta name="viewport" content="width=device-width, initial-scale=1"><title>%s</title><style>
                %s</style></head><body>
                %s</body></html>
                """.formatted(escape(title), STYLE, body);
    }

    /** Before anything is done for it. */
    static void check(Path file) {
        Path folder = file.toAbsolutePath().getParent();
        if (folder == null || !Files.isDirectory(folder) || Files.isDirectory(file)) {
            throw new IllegalArgumentException(
                    "the page cannot go to " + file + ": name a file in a folder that exists");
        }
    }

    static String escape(String text) {
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
