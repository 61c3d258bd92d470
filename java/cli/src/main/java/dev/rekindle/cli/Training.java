// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.PrintWriter;
import java.io.Writer;
import java.util.List;
import java.util.stream.Stream;

/**
 * Does at build what users do most, for the AOT cache: the JVM finds in it what was loaded here. Commands that find no pool
 * and no image fail, as they do anywhere, and touch nothing.
 */
final class Training {
    private Training() {}

    /** An empty folder. */
    public static void main(String[] arguments) {
        String empty = arguments[0];
        List<List<String>> commands = List.of(
                List.of("--help"),
                List.of("help", "restore"),
                List.of("no-such-command"),
                List.of("pool", "status"),
                List.of("pool", "status", Output.JSON),
                List.of("inspect", empty),
                List.of("inspect", "--json", empty),
                List.of("stats", "restore", empty),
                List.of("restore", empty),
                List.of("checkpoint", String.valueOf(Integer.MAX_VALUE), empty),
                List.of("check", String.valueOf(Integer.MAX_VALUE)));
        for (List<String> command : commands) {
            boolean asks = Stream.of("help", "--help", "inspect", "stats", "no-such-command")
                    .noneMatch(command::contains);
            String[] words = Stream.concat(
                            command.stream(), asks ? Stream.of("--pool-socket", "/nonexistent") : Stream.of())
                    .toArray(String[]::new);
            RekindleCommand.commandLine(words)
                    .setOut(new PrintWriter(Writer.nullWriter()))
                    .setErr(new PrintWriter(Writer.nullWriter()))
                    .execute(words);
        }
        RekindleCommand.main(new String[] {"--version"});
    }
}
