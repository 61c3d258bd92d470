// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.File;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/** The commands, on a process without CUDA and on the pool of the simulated driver. */
class RekindleCommandTest {
    private static final Path NATIVE = Path.of(System.getProperty("rekindle.native.build"));
    private static final Path SOURCE = Path.of(System.getProperty("rekindle.native.source"));

    @TempDir
    private Path folder;

    private List<String> settings = List.of();

    private record Outcome(int exitCode, String out, String err) {}

    @BeforeEach
    void findCriu() throws Exception {
        Process script = new ProcessBuilder(
                        SOURCE.resolve("criu/provide-criu.sh").toString())
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        String criu = new String(script.getInputStream().readAllBytes(), StandardCharsets.UTF_8)
                .strip()
                .lines()
                .toList()
                .getLast();
        settings = List.of(
                "--criu",
                criu,
                "--cuda-driver",
                NATIVE.resolve("lib/simcuda/libcuda.so.1").toString(),
                "--pool-socket",
                folder.resolve("pool.sock").toString());
    }

    @Test
    void checkpointInspectStatsAndRestore() throws Exception {
        Process process = new ProcessBuilder("setsid", "sleep", "1000")
                .redirectInput(new File("/dev/null"))
                .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                .redirectError(ProcessBuilder.Redirect.DISCARD)
                .start();
        String pid = String.valueOf(process.pid());
        String images = folder.resolve("images").toString();
        try {
            Outcome dumped = run("checkpoint", pid, images, "--timeout", "30");
            assertThat(dumped.exitCode()).as(dumped.err()).isZero();
            assertThat(dumped.out()).contains("checkpoint done in").contains("pages written");
            process.waitFor();

            assertThat(run("inspect", images).out())
                    .contains("PID")
                    .contains("sleep")
                    .contains("host memory");
            assertThat(run("inspect", images, "--tree").out()).contains("sleep (" + pid + "): 1 threads");
            assertThat(run("stats", "checkpoint", images).out()).contains("checkpoint done in");

            Outcome restored = run("restore", images);
            assertThat(restored.exitCode()).as(restored.err()).isZero();
            assertThat(restored.out().strip().lines().toList().getLast()).isEqualTo(pid);
            assertThat(ProcessHandle.of(process.pid())).isPresent();
        } finally {
            ProcessHandle.of(process.pid()).ifPresent(ProcessHandle::destroyForcibly);
        }
    }

    @Test
    void poolStartsAnswersAndStops() {
        Outcome started = run(
                "pool",
                "start",
                "--program",
                NATIVE.resolve("bin/rekindled").toString(),
                "--log",
                folder.resolve("pool.log").toString());
        assertThat(started.exitCode()).as(started.err()).isZero();
        assertThat(started.out()).containsPattern("rekindled runs with pid \\d+ and 1 warm contexts");
        assertThat(run("pool", "status").out()).contains("SIMULATED GPU").contains("WORKERS");
        assertThat(run("pool", "stop").out()).contains("has ended");
        Outcome none = run("pool", "status");
        assertThat(none.exitCode()).isEqualTo(1);
        assertThat(none.err()).startsWith("rekindle: ").contains("pool.sock");
    }

    @Test
    void failuresAreSentencesAndExitCodes() {
        Outcome missing = run("restore", folder.resolve("none").toString());
        assertThat(missing.exitCode()).isEqualTo(1);
        assertThat(missing.err()).startsWith("rekindle: ").contains("none").doesNotContain("\tat ");
        assertThat(run("checkpoint", "no-number", "images").exitCode()).isEqualTo(2);
        assertThat(run("check").out()).contains("looks good");
    }

    /** Commands that take settings get those of the test. */
    private Outcome run(String... arguments) {
        var all = new ArrayList<>(List.of(arguments));
        if (!List.of("inspect", "stats").contains(arguments[0])) {
            all.addAll(settings);
        }
        var out = new StringWriter();
        var err = new StringWriter();
        CommandLine commandLine =
                RekindleCommand.commandLine().setOut(new PrintWriter(out, true)).setErr(new PrintWriter(err, true));
        int exitCode = commandLine.execute(all.toArray(String[]::new));
        return new Outcome(exitCode, out.toString(), err.toString());
    }
}
