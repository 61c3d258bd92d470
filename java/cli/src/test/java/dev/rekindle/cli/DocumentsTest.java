// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;
import picocli.CommandLine.HelpCommand;
import picocli.CommandLine.Model.OptionSpec;

/** Man pages and completion cover every command and option, as they are made from them. */
class DocumentsTest {
    @TempDir
    private Path folder;

    @Test
    void everyCommandHasItsPage() throws Exception {
        Documents.main(new String[] {folder.toString(), "1.2.3"});
        look(RekindleCommand.commandLine());
        assertThat(Files.readString(folder.resolve("man/man1/rekindle.1")))
                .contains(".SH \"EXIT STATUS\"")
                .contains("rekindle 1.2.3");
        assertThat(complete("rekindle", "che")).contains("checkpoint").contains("check");
        assertThat(complete("rekindle", "pool", "pre")).contains("prefetch");
    }

    /** The table of the README has the sentences of the help. */
    @Test
    void readmeListsTheExitStatuses() throws Exception {
        String readme = Files.readString(
                Path.of(System.getProperty("rekindle.native.source")).resolveSibling("java/README.md"));
        ExitStatus.descriptions()
                .forEach((status, sentence) -> assertThat(readme).contains("| " + status + " | " + sentence + " |\n"));
    }

    private void look(CommandLine command) throws Exception {
        String page = Files.readString(
                folder.resolve("man/man1").resolve(command.getCommandSpec().qualifiedName("-") + ".1"));
        for (OptionSpec option : command.getCommandSpec().options()) {
            assertThat(page).contains(option.longestName().replace("-", "\\-"));
        }
        for (CommandLine subcommand : command.getSubcommands().values()) {
            if (!(subcommand.getCommandSpec().userObject() instanceof HelpCommand)) {
                look(subcommand);
            }
        }
    }

    private String complete(String... words) throws Exception {
        var command = new ArrayList<>(List.of(
                "bash",
                "-c",
                "source \"$1\" && COMP_WORDS=(\"${@:2}\") && COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) &&"
                        + " _complete_rekindle && echo \"${COMPREPLY[@]}\"",
                "bash",
                folder.resolve("completions/rekindle").toString()));
        command.addAll(List.of(words));
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String text = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).as(text).isZero();
        return text;
    }
}
