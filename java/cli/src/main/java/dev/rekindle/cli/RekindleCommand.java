// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.RekindleException;
import java.io.PrintWriter;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/** The {@code rekindle} program: one subcommand for each thing it does. */
@Command(
        name = "rekindle",
        mixinStandardHelpOptions = true,
        versionProvider = VersionProvider.class,
        description = "Fast checkpoint and restore of GPU processes with CRIU.",
        synopsisSubcommandLabel = "COMMAND",
        subcommands = {
            CheckpointCommand.class,
            RestoreCommand.class,
            InspectCommand.class,
            StatsCommand.class,
            PoolCommand.class,
            CheckCommand.class
        })
public final class RekindleCommand {
    private RekindleCommand() {}

    /**
     * Runs a command and exits: 0 when it succeeded, 1 when it failed, 2 where the arguments are wrong.
     *
     * @param arguments the command and its arguments
     */
    public static void main(String[] arguments) {
        System.exit(run(arguments));
    }

    static int run(String... arguments) {
        return commandLine().execute(arguments);
    }

    static CommandLine commandLine() {
        return new CommandLine(new RekindleCommand())
                .setCaseInsensitiveEnumValuesAllowed(true)
                .setExecutionExceptionHandler(RekindleCommand::explain);
    }

    private static int explain(Exception failure, CommandLine commandLine, CommandLine.ParseResult arguments)
            throws Exception {
        PrintWriter err = commandLine.getErr();
        if (failure instanceof RekindleException exception) {
            err.println("rekindle: " + exception.getMessage());
            exception.criuLog().lines().forEach(line -> err.println("  criu: " + line));
        } else if (failure instanceof IllegalArgumentException || failure instanceof IllegalStateException) {
            err.println("rekindle: " + failure.getMessage());
        } else {
            throw failure;
        }
        err.flush();
        return CommandLine.ExitCode.SOFTWARE;
    }
}
