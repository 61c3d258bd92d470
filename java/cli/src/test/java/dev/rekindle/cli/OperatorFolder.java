// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.cli.Cli.Outcome;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.io.TempDir;

/** The folder, the program and the processes of a test of what an operator does, with real CRIU and the simulated driver. */
abstract class OperatorFolder {
    @TempDir
    Path folder;

    Cli cli;
    private final List<Long> pids = new ArrayList<>();

    @BeforeEach
    void makeCli() {
        cli = new Cli(folder);
    }

    @AfterEach
    void endAll() {
        pids.forEach(Cli::kill);
        if (Files.exists(folder.resolve("pool.sock"))) {
            cli.run("pool", "stop");
        }
    }

    /** What was started, and ends with the test. */
    long pid(Outcome outcome) {
        long pid = outcome.json().get("pid").getAsLong();
        pids.add(pid);
        return pid;
    }

    /** Returns the folder with its checkpoint. */
    Path sleeperIn(String name) {
        Path images = folder.resolve(name);
        Path log = folder.resolve(name + ".log");
        long pid = pid(cli.succeed("run", "--json", "-o", log.toString(), "--", "sleep", "1000"));
        cli.succeed("checkpoint", String.valueOf(pid), images.toString());
        Cli.await("the end of the dumped process", () -> ProcessHandle.of(pid).isEmpty());
        return images;
    }
}
