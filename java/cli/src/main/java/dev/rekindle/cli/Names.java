// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/**
 * Names of files are bytes, which the JVM takes for characters of the locale that it is started in; the library takes them
 * for UTF-8. What either of them does not have would become the name of another file.
 */
final class Names {
    private static final char REPLACEMENT = '\uFFFD';
    private static final int ASCII_MAX = 127;

    private Names() {}

    /** Why the arguments, or the folder that this runs in, are not what the user has named; nothing where they are. */
    static Optional<String> problem(List<String> arguments) {
        boolean unicode = "UTF-8".equals(System.getProperty("sun.jnu.encoding"));
        boolean argument = arguments.stream().anyMatch(word -> isLost(word, unicode));
        if (!argument && !isLost(System.getProperty("user.dir", ""), unicode) && isHere()) {
            return Optional.empty();
        }
        String what = argument ? "an argument" : "the name of this folder";
        return Optional.of(
                unicode
                        ? what + " is not UTF-8: give what it names another name"
                        : what
                                + " is not ASCII, and the locale is not one of UTF-8: set LC_ALL=C.UTF-8 for this command");
    }

    private static boolean isLost(String text, boolean unicode) {
        return text.chars().anyMatch(character -> unicode ? character == REPLACEMENT : character > ASCII_MAX);
    }

    /** Whether the JVM knows the folder that it was started in: where its name was lost, another one may have that. */
    private static boolean isHere() {
        Path here = Path.of("/proc/self/cwd");
        try {
            return !Files.exists(here) || Files.isSameFile(Path.of(""), here);
        } catch (IOException | InvalidPathException lost) {
            return false;
        }
    }
}
