// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static dev.rekindle.cli.Finding.Status.FAIL;
import static dev.rekindle.cli.Finding.Status.WARN;

import dev.rekindle.Rekindle;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Whether a criu loads the plugins of a folder: it is made to do so. A pre-dump begins with that, and one of a process that
 * cannot be does nothing else.
 */
final class PluginDoctor {
    /** Higher than any that the kernel gives. */
    private static final String NO_PROCESS = "4194305";

    private static final String NAME = "plugin in criu";
    private static final String LOG = "plugin.log";
    private static final Pattern LOADED = Pattern.compile("Plugin \"([^\"]*)\" \\(version");
    /** As plugin.c says it. */
    private static final Pattern OURS = Pattern.compile("this is Rekindle's plugin, version (\\S+)");
    /** All that criu says of plugins that it does not take, whichever of the folder they are. */
    private static final Pattern REFUSED =
            Pattern.compile("Error \\([^)]*\\): ((?:Unable to load|Can't load plugin|Corrupted plugin|Failed in init"
                    + "|Unable to open directory|Unable to read the libraries) ?.*)");

    private static final Pattern ERROR = Pattern.compile("Error \\([^)]*\\): (.*)");

    private PluginDoctor() {}

    static Finding examine(Path criu, Path folder) throws IOException {
        try (TemporaryFolder images = TemporaryFolder.make("rekindle-doctor-")) {
            Machine.output(
                    criu.toString(),
                    "pre-dump",
                    "--tree",
                    NO_PROCESS,
                    "--images-dir",
                    images.path().toString(),
                    "--libdir",
                    folder.toString(),
                    "--log-file",
                    LOG,
                    "-v4");
            return judge(Machine.text(images.path().resolve(LOG).toString()).orElse(""), criu, folder);
        }
    }

    private static Finding judge(String log, Path criu, Path folder) {
        Optional<String> refused = first(REFUSED, log);
        if (refused.isPresent()) {
            return bad(criu + " does not load it: " + refused.get(), folder);
        }
        if (first(LOADED, log).isEmpty()) {
            return new Finding(
                    NAME,
                    WARN,
                    "not known: " + criu + " came to no plugin"
                            + first(ERROR, log).map(error -> ": " + error).orElse(""),
                    "a criu that gets as far as that",
                    "correct what the other lines find, and look again");
        }
        Optional<String> version = first(OURS, log);
        if (version.isEmpty()) {
            return bad(folder.resolve("cuda_plugin.so") + " is another plugin of that name", folder);
        }
        return version.get().equals(Rekindle.version())
                ? Finding.pass(NAME, "loaded by " + criu + ", version " + version.get())
                : bad("it is of version " + version.get() + ", and this is rekindle " + Rekindle.version(), folder);
    }

    private static Finding bad(String found, Path folder) {
        return new Finding(
                NAME,
                FAIL,
                found,
                "the plugin of this release, alone in its folder, which criu 4.1 and newer load",
                "name the folder of this release's plugin with --plugin-dir in place of " + folder);
    }

    private static Optional<String> first(Pattern pattern, String log) {
        Matcher matcher = pattern.matcher(log);
        return matcher.find() ? Optional.of(matcher.group(1)) : Optional.empty();
    }
}
