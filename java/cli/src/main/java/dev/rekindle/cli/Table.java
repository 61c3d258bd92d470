// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import picocli.CommandLine.Help.Ansi;
import picocli.CommandLine.Help.ColorScheme;
import picocli.CommandLine.Help.Column;
import picocli.CommandLine.Help.TextTable;

/** A table with columns as wide as their widest cell. */
final class Table {
    private final List<String[]> rows = new ArrayList<>();

    Table(String... headings) {
        rows.add(headings);
    }

    void row(Object... cells) {
        rows.add(Arrays.stream(cells).map(String::valueOf).toArray(String[]::new));
    }

    /** Nothing but headings. */
    boolean isEmpty() {
        return rows.size() == 1;
    }

    void print(PrintWriter out) {
        Column[] columns = new Column[rows.getFirst().length];
        for (int i = 0; i < columns.length; i++) {
            int index = i;
            int width = rows.stream().mapToInt(row -> row[index].length()).max().orElseThrow();
            columns[i] = new Column(width + 2, 0, Column.Overflow.TRUNCATE);
        }
        TextTable table = TextTable.forColumns(new ColorScheme.Builder(Ansi.OFF).build(), columns);
        rows.forEach(table::addRowValues);
        out.print(table);
        out.flush();
    }
}
