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

/** A page of what is no document, or not all of one. */
class ReportCommandTest {
    private static final String WHOLE = """
            {"command": ["serve"], "rounds": 1, "cache": "warm", "not_cold": [],
             "conditions": {"created": "2026-01-02T03:04:05Z", "kernel": "6.12", "cores": 2, "gpu": "", "simulated": false,
                            "criu": "4.2.1", "stock_criu": "", "stock_plugins": false, "images_file_system": "ext4",
                            "settle_seconds": 0},
             "sides": [{"side": "rekindle", "seconds": [0.5], "failure": "",
                        "summary": {"median_seconds": 0.5, "p95_seconds": 0.5, "p99_seconds": 0.5, "minimum_seconds": 0.5,
                                    "maximum_seconds": 0.5, "spread_seconds": 0}}]}
            """;

    @TempDir
    private Path folder;

    private Outcome report(String text) throws Exception {
        Path file = Files.writeString(folder.resolve("bench.json"), text);
        return new Cli(folder)
                .run(
                        "report",
                        file.toString(),
                        "-o",
                        folder.resolve("page.html").toString());
    }

    @Test
    void aWholeOneBecomesAPage() throws Exception {
        Outcome outcome = report(WHOLE);
        assertThat(outcome.exitCode()).as(outcome.err()).isZero();
        assertThat(folder.resolve("page.html")).content().contains("serve", "Nothing to compare");
    }

    /** What of it is replaced, and what is said of it then. */
    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            {"command"          | no document     | line 1 shows
            {"command"          | []              | line 1 shows
            "rounds": 1         | "rounds": "x"   | line 1 shows
            "cache": "warm"     | "cache": "hot"  | one of its values shows
            2026-01-02T         | once            | one of its values shows
            "seconds": [0.5]    | "seconds": 5    | line 5 shows
            0}}]}               | 0               | line 8 shows
            "kernel": "6.12",   | ``              | some of it is missing
            "command": ["serve"], | ``            | some of it is missing
            ["serve"]           | [null]          | some of it is missing
            "seconds": [0.5]    | "seconds": []   | some of it is missing
            "side": "rekindle", | ``              | some of it is missing
            "p99_seconds": 0.5, | ``              | some of it is missing
            """)
    void aBrokenOneIsOneSentenceThatSaysWhatToDo(String part, String other, String what) throws Exception {
        assertThat(WHOLE).contains(part);
        Outcome outcome = report(WHOLE.replace(part, other));
        assertThat(outcome.exitCode()).isEqualTo(2);
        assertThat(outcome.err())
                .isEqualTo("rekindle: " + folder.resolve("bench.json")
                        + " is no document of 'rekindle bench --json', as " + what
                        + ": name a file that holds all that it printed\n");
        assertThat(folder.resolve("page.html")).doesNotExist();
    }
}
