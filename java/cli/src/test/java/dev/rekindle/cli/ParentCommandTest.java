// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonObject;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code --parent}, and what is said of a difference, with real CRIU and the simulated driver. */
class ParentCommandTest {
    private static final long BYTES = 24 << 20;

    @TempDir
    private Path folder;

    @Test
    void whatWasLinkedIsSaid() throws Exception {
        var cli = new Cli(folder);
        Path state = folder.resolve("worker");
        long worker = cli.succeed(Cli.worker(state)).json().get("pid").getAsLong();
        try {
            Cli.ask(state, "wait-ready");
            String pid = String.valueOf(worker);
            String first = folder.resolve("first").toString();
            String second = folder.resolve("second").toString();
            assertThat(cli.succeed("dump", pid, first, "--leave-running").out()).doesNotContain("linked");
            JsonObject run = cli.succeed("dump", pid, second, "--leave-running", "--parent", first, "--json")
                    .json()
                    .getAsJsonObject("run");
            assertThat(run.get("linked_bytes").getAsLong()).isEqualTo(BYTES);
            assertThat(run.get("written_bytes").getAsLong()).isZero();
            assertThat(cli.succeed("stats", "checkpoint", second).out())
                    .contains("0 B of the GPU images were written, the rest has not changed and is linked");
            assertThat(cli.succeed("inspect", second).out())
                    .containsPattern(
                            "(?m)^linked       24.0 MiB, of older images: [0-9a-f]{32}; they hold 0 B beside that$");
            JsonObject image = cli.succeed("inspect", second, "--json").json();
            assertThat(image.get("linked_bytes").getAsLong()).isEqualTo(BYTES);
            assertThat(image.get("dead_bytes").getAsLong()).isZero();
            assertThat(cli.succeed("dump", pid, second, "--leave-running", "--parent", "none", "--json")
                            .json()
                            .getAsJsonObject("run")
                            .get("linked_bytes")
                            .getAsLong())
                    .isZero();
        } finally {
            Cli.kill(worker);
        }
    }
}
