// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import com.google.gson.JsonElement;
import com.google.gson.JsonParser;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "cdi",
        mixinStandardHelpOptions = true,
        description = {
            "Write the CDI specification of the agent, for --device " + AgentDevice.KIND + "=all.",
            "It is JSON itself; with --json it is in a document that says more of it."
        })
final class CdiCommand implements Callable<Integer> {
    @Mixin
    private Output printed;

    @Option(
            names = "--output",
            paramLabel = "FILE",
            description = "Where to, such as /etc/cdi/rekindle.json (default: standard output).")
    private @Nullable Path output;

    @Option(
            names = "--agent-minimum",
            paramLabel = "SIZE",
            description = "In the containers: smaller allocations stay with the driver (1K and more).")
    private @Nullable String minimum;

    /**
     * What {@code --json} prints.
     *
     * @param output the file that was written
     * @param devices what engines are to be given
     * @param agent what they preload
     * @param specification what is in the file, and else printed alone
     */
    record Document(Optional<Path> output, List<String> devices, Path agent, JsonElement specification) {}

    /** As the agent takes it. */
    private static final Pattern SIZE = Pattern.compile("(\\d{1,15})([KMG]?)");

    private static final long LEAST = 1L << 10;

    @Override
    public Integer call() {
        if (minimum != null && bytes(minimum) < LEAST) {
            throw new IllegalArgumentException("--agent-minimum " + minimum
                    + " is no size of 1K or more: give a number, with K, M or G behind it");
        }
        Path agent = Installation.find().agent();
        String specification = AgentDevice.specification(agent, minimum);
        if (output != null) {
            Path folder = output.toAbsolutePath().getParent();
            if (folder == null || !Files.isDirectory(folder)) {
                throw new IllegalArgumentException(
                        "there is no folder " + folder + " for " + output + ": make it first");
            }
            WholeFile.write(output, specification);
        }
        var document = new Document(
                Optional.ofNullable(output),
                List.of(AgentDevice.KIND + "=all"),
                agent,
                JsonParser.parseString(specification));
        printed.print(document, out -> out.print(output == null ? specification : ""));
        return 0;
    }

    /** Less than any size where it is none. */
    private static long bytes(String text) {
        Matcher size = SIZE.matcher(text);
        if (!size.matches()) {
            return -1;
        }
        int shift = 10 * " KMG".indexOf(size.group(2).isEmpty() ? " " : size.group(2));
        long number = Long.parseLong(size.group(1));
        return number > Long.MAX_VALUE >> shift ? -1 : number << shift;
    }
}
