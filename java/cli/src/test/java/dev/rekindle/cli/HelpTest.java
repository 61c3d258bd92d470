// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.rekindle.cli.Cli.Outcome;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/** Every command has its help, and all of it. */
class HelpTest {
    @TempDir
    private Path folder;

    private Outcome run(String... arguments) {
        return new Cli(folder).run(arguments);
    }

    @Test
    void everyCommandHasJsonAndHelp() {
        everyCommandHasJsonAndHelp(RekindleCommand.commandLine());
        assertThat(run("help").out()).contains("Exit status:").contains("doctor");
        assertThat(run("help", "restore").out()).contains("--cleanup");
    }

    private static void everyCommandHasJsonAndHelp(CommandLine command) {
        for (CommandLine subcommand : command.getSubcommands().values()) {
            if (!subcommand.getSubcommands().isEmpty()) {
                everyCommandHasJsonAndHelp(subcommand);
            } else if (!subcommand.getCommandName().equals("help")) {
                assertThat(subcommand.getCommandSpec().optionsMap())
                        .as(subcommand.getCommandName())
                        .containsKeys("--json", "--help");
            }
        }
    }

    /** Of what the arguments name, only that is read. */
    @Test
    void helpOfOneCommandIsTheSameHoweverMuchIsRead() {
        helpIsTheSame(RekindleCommand.commandLine(), List.of());
        assertThat(run("--help").out())
                .isEqualTo(RekindleCommand.commandLine().getUsageMessage())
                .isEqualTo(run("help").out());
        assertThat(run("--version").out()).matches("rekindle \\d+\\.\\d+\\.\\d+\\R");
    }

    private void helpIsTheSame(CommandLine group, List<String> path) {
        group.getSubcommands().forEach((name, command) -> {
            var words = new ArrayList<>(path);
            words.add(name);
            helpIsTheSame(command, words);
            words.add("--help");
            assertThat(run(words.toArray(String[]::new)).out()).isEqualTo(command.getUsageMessage());
        });
    }

    @Test
    void helpListsTheExitStatuses() {
        assertThat(run("--help").out())
                .contains("Exit status:")
                .containsPattern("(?m)^ +3 +Another run")
                .containsPattern("(?m)^ +4 +Another process")
                .containsPattern("(?m)^ +130, 143 +SIGINT or SIGTERM");
    }
}
