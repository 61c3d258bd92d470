// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonObject;
import dev.rekindle.cli.Cli.Outcome;
import java.io.File;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The commands, on a process without CUDA and on the pool of the simulated driver. */
class RekindleCommandTest {
    @TempDir
    private Path folder;

    private Outcome run(String... arguments) {
        return new Cli(folder).run(arguments);
    }

    @Test
    void checkpointInspectStatsAndRestore() throws Exception {
        Process process = sleeper();
        String pid = String.valueOf(process.pid());
        String images = folder.resolve("images").toString();
        try {
            Outcome dumped = run("checkpoint", pid, images, "--timeout", "30");
            assertThat(dumped.exitCode()).as(dumped.err()).isZero();
            assertThat(dumped.out()).contains("checkpoint done in").doesNotContain("pages written");
            process.waitFor();

            assertThat(run("inspect", images).out())
                    .contains("PID")
                    .contains("sleep")
                    .contains("host memory");
            assertThat(run("inspect", images, "--tree").out()).contains("sleep (" + pid + "): 1 threads");
            assertThat(run("stats", "checkpoint", images).out())
                    .contains("checkpoint done in")
                    .contains("pages written");

            Outcome restored = run("restore", images, "--print-stats");
            assertThat(restored.exitCode()).as(restored.err()).isZero();
            assertThat(restored.out()).contains("pages restored");
            assertThat(restored.out().strip().lines().toList().getLast()).isEqualTo(pid);
            assertThat(ProcessHandle.of(process.pid())).isPresent();
        } finally {
            ProcessHandle.of(process.pid()).ifPresent(ProcessHandle::destroyForcibly);
        }
    }

    @Test
    void poolStartsAnswersAndStops() {
        Outcome started =
                run("pool", "start", "--log", folder.resolve("pool.log").toString());
        assertThat(started.exitCode()).as(started.err()).isZero();
        assertThat(started.out()).containsPattern("rekindled runs with pid \\d+ and 1 warm contexts");
        assertThat(run("pool", "status").out()).contains("SIMULATED GPU").contains("WORKERS");
        assertThat(run("pool", "stop").out()).contains("has ended");
        Outcome none = run("pool", "status");
        assertThat(none.exitCode()).isEqualTo(14);
        assertThat(none.err()).startsWith("rekindle: ").contains("pool.sock");
    }

    @Test
    void machineThatCan() {
        assertThat(run("check").out()).contains("looks good");
    }

    @Test
    void treeThatCanAndOneThatCannot() throws Exception {
        Process process = sleeper();
        Process other = new ProcessBuilder(
                        "setsid", "bash", "-c", "exec 5<>file; head -c 3M /dev/zero >&5; rm file; exec sleep 1000")
                .directory(folder.toFile())
                .start();
        try {
            Outcome can = run("check", String.valueOf(process.pid()));
            assertThat(can.exitCode()).as(can.err()).isZero();
            assertThat(can.out())
                    .contains("PID")
                    .contains("sleep")
                    .contains("nothing of what was looked for is in the way");
            Cli.await("the shell to be done", () -> {
                Outcome outcome = run("check", String.valueOf(other.pid()));
                return outcome.exitCode() != 0 && outcome.out().contains("sleep");
            });
            Outcome cannot = run("check", String.valueOf(other.pid()));
            assertThat(cannot.exitCode()).as(cannot.err()).isEqualTo(1);
            assertThat(cannot.out()).contains("deleted file").contains("--ghost-limit 4M");
            JsonObject tree =
                    run("check", String.valueOf(other.pid()), "--json").json();
            assertThat(tree.get("usable").getAsBoolean()).isFalse();
            JsonObject first = tree.getAsJsonArray("processes").get(0).getAsJsonObject();
            assertThat(first.get("pid").getAsLong()).isEqualTo(other.pid());
            JsonObject obstacle = tree.getAsJsonArray("obstacles").get(0).getAsJsonObject();
            assertThat(obstacle.get("kind").getAsString()).isEqualTo("ghost_file");
            Outcome allowed = run("check", String.valueOf(other.pid()), "--criu-argument=--ghost-limit=8M");
            assertThat(allowed.exitCode()).as(allowed.out() + allowed.err()).isZero();
            for (String option : List.of("--ghost-limit=8M", "--preset=inference")) {
                allowed = run("check", String.valueOf(other.pid()), option);
                assertThat(allowed.exitCode())
                        .as(option + allowed.out() + allowed.err())
                        .isZero();
            }
            // What is said for criu itself goes before the preset.
            assertThat(run(
                                    "check",
                                    String.valueOf(other.pid()),
                                    "--preset=inference",
                                    "--criu-argument=--ghost-limit=2M")
                            .exitCode())
                    .isEqualTo(1);
        } finally {
            process.destroyForcibly().waitFor();
            other.destroyForcibly().waitFor();
        }
    }

    @Test
    void argumentsOfAProgramAreItsOwn() throws Exception {
        Path log = folder.resolve("log");
        Path list = Files.writeString(folder.resolve("list"), "another");
        run("run", "-o", log.toString(), "--", "sh", "-c", "echo \"$1\"", "sh", "@" + list);
        assertThat(log).content().isEqualTo("@" + list + "\n");
    }

    @Test
    void programOfAnInterruptedRunIsEnded() {
        Thread.currentThread().interrupt();
        Outcome outcome;
        try {
            outcome = run("run", "-o", folder.resolve("log").toString(), "--", "sh", "-c", "sleep 1000 & wait");
        } finally {
            Thread.interrupted();
        }
        assertThat(outcome.exitCode()).as(outcome.err()).isEqualTo(18);
        Matcher pid = Pattern.compile("interrupted: sh, .* as process (\\d+), was ended")
                .matcher(outcome.err());
        assertThat(pid.find()).as(outcome.err()).isTrue();
        assertThat(ProcessStat.ofSession(Long.parseLong(pid.group(1)))).isEmpty();
    }

    /** What is done is said on the other way. */
    @Test
    void resultThatCannotBeWrittenIsAFailure() throws Exception {
        var cli = new Cli(folder);
        try (var full = new PrintWriter("/dev/full", StandardCharsets.UTF_8)) {
            Outcome outcome = cli.run(full, "run", "-o", folder.resolve("log").toString(), "--", "sleep", "1000");
            Matcher pid = Pattern.compile("rekindle: sleep runs with pid (\\d+), but " + Output.LOST + "\n")
                    .matcher(outcome.err());
            assertThat(pid.matches()).as(outcome.err()).isTrue();
            Cli.kill(Long.parseLong(pid.group(1)));
            assertThat(outcome.exitCode()).isEqualTo(1);
        }
    }

    /** The others' values are still worth having, but not all is well. */
    @Test
    void metricsSayWhatTheyLeaveOut() throws Exception {
        Path broken = Files.createDirectory(folder.resolve("broken"));
        Path empty = Files.createDirectory(folder.resolve("empty"));
        Files.writeString(broken.resolve("stats-rekindle.json"), "{");
        Outcome outcome = run("metrics", broken.toString(), empty.toString());
        assertThat(outcome.exitCode()).isNotZero();
        assertThat(outcome.err())
                .startsWith("rekindle: " + broken + " is left out: ")
                .hasLineCount(1);
        assertThat(outcome.out()).contains("rekindle_pool_up 0");
        assertThat(run("metrics", empty.toString()).exitCode()).isZero();
    }

    /** A criu of which the pool's statistics say what went wrong: the errno code there becomes one of the library. */
    @ParameterizedTest
    @CsvSource({"-16, 3", "-125, 18", "-110, 17", "-5, 10"})
    void busyHasAnExitStatusOfItsOwn(int failureCode, int exitStatus) throws Exception {
        Path images = folder.resolve("images");
        Path criu = Files.writeString(folder.resolve("criu"), """
                #!/bin/sh
                case "$*" in
                --version) echo "Version: 4.2.1"; exit ;;
                esac
                cd %s || exit 1
                echo '{"kind":"checkpoint","succeeded":false,"failure":"so it is","failure_code":%d,"failure_phase":2}' \
                    >stats-rekindle.json
                exit 1
                """.formatted(images, failureCode));
        assertThat(criu.toFile().setExecutable(true)).isTrue();
        Process process = sleeper();
        try {
            Outcome outcome = run(
                    "checkpoint", "-q", String.valueOf(process.pid()), images.toString(), "--criu", criu.toString());
            assertThat(outcome.exitCode()).as(outcome.err()).isEqualTo(exitStatus);
            assertThat(outcome.err()).startsWith("rekindle: so it is");
        } finally {
            process.destroyForcibly();
        }
    }

    @Test
    void idInUseHasAnExitStatusOfItsOwn() throws Exception {
        Process process = sleeper();
        String images = folder.resolve("images").toString();
        try {
            assertThat(run("checkpoint", String.valueOf(process.pid()), images, "-R")
                            .exitCode())
                    .isZero();
            Outcome outcome = run("restore", images);
            assertThat(outcome.exitCode()).as(outcome.err()).isEqualTo(4);
            assertThat(outcome.err()).contains("in use by process " + process.pid() + " (sleep), which runs");
            assertThat(process.isAlive()).isTrue();
        } finally {
            process.destroyForcibly();
        }
    }

    /** It leads a session already. */
    private static Process sleeper() throws IOException {
        Process process = new ProcessBuilder("setsid", "sleep", "1000")
                .redirectInput(new File("/dev/null"))
                .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                .redirectError(ProcessBuilder.Redirect.DISCARD)
                .start();
        Path name = Path.of("/proc", String.valueOf(process.pid()), "comm");
        Cli.await("the process to sleep", () -> Files.readString(name).equals("sleep\n"));
        return process;
    }
}
