// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.rekindle.cli.Cli.Outcome;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Every subcommand on a terminal, through a pty: the statuses and sentences are those that programs get. */
class TerminalTest {
    @TempDir
    private Path folder;

    /** Exit status, command, and what it has to name. FOLDER is a folder of the test. */
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            0 | --version                                        | rekindle
            0 | help restore                                     | --cleanup
            2 | dance                                            | dance
            2 | doctor --images FOLDER/none                      | FOLDER/none
            2 | run -- FOLDER/no-program                         | FOLDER/no-program
            5 | checkpoint 4194305 FOLDER/images                 | no such process
            11 | restore FOLDER/empty                            | holds no checkpoint
            11 | inspect FOLDER/empty                            | empty
            14 | pool status                                     | pool.sock
            11 | swap FOLDER/empty FOLDER/none                   | none
            2 | bench -- sleep 9                                 | --health-url
            2 | report FOLDER/empty -o FOLDER/x.html             | FOLDER/empty
            11 | stats restore FOLDER/empty                      | no statistics of a restore
            0 | metrics                                          | rekindle_pool_up 0
            2 | check no-number                                  | no-number
            2 | setup docker                                     | docker
            0 | cdi                                              | LD_PRELOAD
            """)
    void statusesAndSentencesAreTheSame(int exitStatus, String command, String named) throws Exception {
        Files.createDirectory(folder.resolve("empty"));
        Outcome outcome = new Cli(folder)
                .onTerminal(command.replace("FOLDER", folder.toString()).split(" +", -1));
        assertThat(outcome.exitCode()).as(outcome.out()).isEqualTo(exitStatus);
        assertThat(outcome.out())
                .contains(named.replace("FOLDER", folder.toString()))
                .doesNotContain("Exception", "\tat dev.rekindle");
        if (exitStatus != 0) {
            // Before it a bar may have been drawn, which is taken away.
            String last = outcome.out().strip().lines().toList().getLast();
            assertThat(last).startsWith("rekindle: ");
            assertThat(outcome.out()).containsOnlyOnce("rekindle: ");
        }
    }

    /** It is still there when the terminal from which it was started is not. */
    @Test
    void poolOutlivesItsTerminal() throws Exception {
        var cli = new Cli(folder);
        try {
            Outcome started = cli.onTerminal(
                    "pool", "start", "--log", folder.resolve("pool.log").toString());
            assertThat(started.exitCode()).as(started.out()).isZero();
            assertThat(started.out()).containsPattern("rekindled runs with pid \\d+ and 1 warm contexts");
            Outcome status = cli.onTerminal("pool", "status");
            assertThat(status.exitCode()).as(status.out()).isZero();
            assertThat(status.out())
                    .contains("SIMULATED GPU")
                    .contains("no images in device memory")
                    .containsPattern("(?m)^0 +SIMULATED");
            Outcome none = cli.onTerminal("pool", "prefetch", folder.toString());
            assertThat(none.exitCode()).as(none.out()).isEqualTo(11);
            assertThat(none.out()).startsWith("rekindle: ").contains("holds no checkpoint");
            assertThat(cli.onTerminal("pool", "stop").out()).contains("has ended");
        } finally {
            cli.run("pool", "stop");
        }
    }
}
