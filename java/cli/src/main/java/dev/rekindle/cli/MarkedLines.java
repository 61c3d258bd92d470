// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.ErrorCode;
import java.io.IOException;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Lines of ours in a configuration file of somebody else's, between two comments that say whose they are. Whatever else
 * is there stays as it is, and so does the place of ours.
 */
final class MarkedLines {
    static final String BEGIN = "# by rekindle setup, begin";
    static final String END = "# by rekindle setup, end";

    /** Those of others stay as they are, whatever their encoding. */
    private static final Charset BYTES = StandardCharsets.ISO_8859_1;

    private final Path file;
    private final List<String> others = new ArrayList<>();
    private final List<String> ours = new ArrayList<>();
    /** In front of which of the others ours are; -1 where there are none. */
    private int place = -1;

    private MarkedLines(Path file) {
        this.file = file;
    }

    /** Reads a file that need not exist. Where it has a beginning of ours without an end, nobody knows whose its lines are. */
    static MarkedLines read(Path file) throws IOException {
        var marked = new MarkedLines(file);
        int begun = 0;
        int number = 0;
        for (String line : marked.lines()) {
            number++;
            if (line.equals(BEGIN)) {
                if (begun > 0) {
                    throw marked.unfinished(begun);
                }
                begun = number;
                marked.place = marked.place < 0 ? marked.others.size() : marked.place;
            } else if (begun > 0 && line.equals(END)) {
                begun = 0;
            } else {
                (begun > 0 ? marked.ours : marked.others).add(line);
            }
        }
        if (begun > 0) {
            throw marked.unfinished(begun);
        }
        return marked;
    }

    private IOException unfinished(int line) {
        return new IOException(
                "%s has '%s' in line %d without an end: put the line '%s' below the last one of rekindle's"
                                .formatted(file, BEGIN, line, END)
                        + ", or take that line out, and run this again");
    }

    private List<String> lines() throws IOException {
        if (Files.isDirectory(file)) {
            throw new CommandException(
                    ErrorCode.PERMISSION,
                    file + " is a folder, and settings are to be written to a file of that name: move it away, and run"
                            + " this again");
        }
        return Files.exists(file) ? Files.readAllLines(file, BYTES) : List.of();
    }

    /** The lines that are not ours. */
    List<String> others() {
        return List.copyOf(others);
    }

    /** Puts the lines in place of ours, else at the end; none: takes ours out. Returns whether that changes the file. */
    boolean write(List<String> lines) throws IOException {
        return write(null, lines);
    }

    /**
     * Likewise in a section, whose heading is written too where no line of somebody else's is that heading. One that others
     * have put lines under stays when ours go.
     */
    boolean write(@Nullable String section, List<String> lines) throws IOException {
        int at = place(section);
        var block = new ArrayList<String>();
        if (!lines.isEmpty()) {
            block.add(BEGIN);
            if (section != null && !section.equals(sectionBefore(at))) {
                block.add(section);
            }
            lines.forEach(line -> block.add(new String(line.getBytes(StandardCharsets.UTF_8), BYTES)));
            block.add(END);
        } else if (section != null && ours.contains(section) && hasSettings(at)) {
            block.add(section);
        }
        var all = new ArrayList<>(others);
        all.addAll(at, block);
        boolean exists = Files.exists(file);
        if (lines().equals(all)) {
            return false;
        }
        if (!all.isEmpty()) {
            replace(file, String.join("\n", all) + "\n", BYTES);
        } else if (exists) {
            Files.delete(file);
        }
        return true;
    }

    private int place(@Nullable String section) {
        if (place >= 0) {
            return place;
        }
        int heading = section == null ? -1 : headings().indexOf(section);
        return heading < 0 ? others.size() : heading + 1;
    }

    private List<String> headings() {
        return others.stream().map(String::strip).toList();
    }

    private static boolean isHeading(String line) {
        return line.startsWith("[") && line.endsWith("]");
    }

    private @Nullable String sectionBefore(int at) {
        return headings().subList(0, at).stream().filter(MarkedLines::isHeading).reduce(null, (one, later) -> later);
    }

    /** Whether somebody else's lines follow before the next heading, which are of the section then. */
    private boolean hasSettings(int at) {
        return headings().subList(at, others.size()).stream()
                .filter(line -> !line.isEmpty() && !line.startsWith("#"))
                .findFirst()
                .filter(line -> !isHeading(line))
                .isPresent();
    }

    /** For everybody to read where it is new. */
    static void replace(Path file, String content, Charset charset) throws IOException {
        boolean isNew = !Files.exists(file);
        WholeFile.makeFolder(file.toAbsolutePath().resolveSibling(""));
        WholeFile.write(file, content, charset);
        if (isNew) {
            Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rw-r--r--"));
        }
    }
}
