// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;
import picocli.CommandLine.HelpCommand;
import picocli.CommandLine.Model.OptionSpec;

/** Man pages and completion cover every command and option, as they are made from them. */
class DocumentsTest {
    @TempDir
    private Path folder;

    private static final Pattern TYPED = Pattern.compile("(?m)^ {4,}.*\\brekindle ([a-z][^#)\n]*)");
    private static final Pattern NAMED = Pattern.compile("`(?:java/bin/)?rekindle ([^`]+)`");

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

    /** Of lines to be typed, all of it; in a sentence, where parameters may be left out. */
    @ParameterizedTest
    @ValueSource(strings = {"README.md", "java/README.md", "native/README.md", "native/package/kubernetes.md"})
    void everyCommandOfTheFilesIsOne(String file) throws Exception {
        String text = Files.readString(
                Path.of(System.getProperty("rekindle.native.source")).resolveSibling(file));
        Matcher typed = TYPED.matcher(text);
        while (typed.find()) {
            parse(typed.group(1));
        }
        Matcher named = NAMED.matcher(text);
        while (named.find()) {
            try {
                parse(named.group(1));
            } catch (CommandLine.MissingParameterException partly) {
                assertThat(partly.getMissing()).isNotEmpty();
            }
        }
    }

    private static void parse(String command) {
        String[] words =
                command.strip().replace("PID", "4711").replace("$pid", "4711").split("\\s+", -1);
        if (!words[0].equals("demo")) { // of the script
            try {
                RekindleCommand.commandLine(words).parseArgs(words);
            } catch (CommandLine.MissingParameterException partly) {
                throw partly;
            } catch (CommandLine.ParameterException wrong) {
                throw new AssertionError("rekindle " + command, wrong);
            }
        }
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
