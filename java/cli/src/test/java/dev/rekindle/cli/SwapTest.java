// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.gson.JsonObject;
import dev.rekindle.cli.Cli.Outcome;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** One service in the place of another, and back. */
class SwapTest extends OperatorFolder {
    @Test
    void swapBackAndForth() throws Exception {
        cli.succeed("pool", "start", "--json");
        Path one = folder.resolve("one");
        Path two = folder.resolve("two");
        long parked = pid(cli.succeed(Cli.worker(one)));
        Cli.ask(one, "wait-ready");
        String images = folder.resolve("images-one").toString();
        String others = folder.resolve("images-two").toString();
        cli.succeed("checkpoint", String.valueOf(parked), images, "--json");
        Cli.await(
                "the end of the dumped process", () -> ProcessHandle.of(parked).isEmpty());
        long running = pid(cli.succeed(Cli.worker(two)));
        Cli.ask(two, "wait-ready");
        String before = Cli.ask(two, "checksum");

        // Wrong before anything is stopped.
        assertThat(cli.run("swap", others, folder.resolve("none").toString(), "--pid", String.valueOf(running))
                        .exitCode())
                .isEqualTo(11);
        assertThat(cli.run("swap", others, images).exitCode())
                .as("no pid is known yet")
                .isEqualTo(5);
        String well = Cli.NATIVE.resolve("bin/rekindle-worker-control") + " --state " + one + " advance 1";
        JsonObject swapped = cli.succeed(
                        "swap", others, images, "--pid", String.valueOf(running), "--health-command", well, "--json")
                .json();
        assertThat(swapped.get("pid").getAsLong()).isEqualTo(parked);
        assertThat(ProcessStat.awaitEnd(running, Duration.ZERO)).isTrue();
        assertThat(pid(cli.succeed("swap", images, others, "--json"))).isEqualTo(running);
        assertThat(Cli.ask(two, "checksum")).isEqualTo(before);

        // The other does not get well: the first is back.
        Outcome unwell =
                cli.run("swap", others, images, "--health-command", "false", "--health-timeout", "1", "--json");
        assertThat(unwell.exitCode()).isEqualTo(17);
        assertThat(unwell.err()).contains("it was ended, and the first one runs again, with pid " + running);
        assertThat(ProcessStat.awaitEnd(parked, Duration.ZERO)).isTrue();
        assertThat(Cli.ask(two, "checksum")).isEqualTo(before);
        JsonObject pool = cli.succeed("pool", "status", "--json").json().getAsJsonObject("pool");
        assertThat(pool.get("device_held_bytes").getAsLong()).isZero();
        assertThat(pool.get("runs").getAsLong()).isZero();
    }

    /** What was restored is known to be A, and what stands in the way of B is found before A is stopped. */
    @Test
    void damagedNoteOfAPidIsNone() throws Exception {
        Files.write(folder.resolve(ServicePid.FILE), new byte[] {(byte) 0xe4});
        assertThatThrownBy(() -> ServicePid.find(folder)).hasMessageContaining("name it with --pid");
    }

    @Test
    void firstSwapAfterARestore() throws Exception {
        Path one = sleeperIn("one");
        long second =
                pid(cli.succeed("run", "--json", "-o", folder.resolve("log").toString(), "--", "sleep", "1000"));
        Path two = folder.resolve("two");
        cli.succeed("checkpoint", String.valueOf(second), two.toString(), "--leave-running");
        long first = pid(cli.succeed("restore", one.toString(), "--json"));
        Outcome held = cli.run("swap", one.toString(), two.toString());
        assertThat(held.exitCode()).as(held.err()).isEqualTo(4);
        assertThat(held.err()).contains("the process id " + second).contains("nothing was stopped");
        assertThat(ProcessStat.runs(first)).isTrue();
        Cli.kill(second);
        Outcome swapped = cli.succeed("swap", one.toString(), two.toString());
        assertThat(swapped.out()).contains("put " + first + " away in").doesNotContain("well after");
        assertThat(ProcessStat.runs(second)).isTrue();
        pid(cli.succeed("swap", two.toString(), one.toString(), "--json"));
    }

    /** Which is seen only when the first has been put away. */
    @Test
    void firstIsBackWhereTheOtherCannotBeRestored() throws Exception {
        Path two = sleeperIn("two");
        try (Stream<Path> files = Files.list(two)) {
            Path memory = files.filter(file -> file.toString().matches(".*/mm-\\d+\\.img"))
                    .findFirst()
                    .orElseThrow();
            Files.write(memory, new byte[(int) Files.size(memory)]);
        }
        Path one = folder.resolve("one");
        Path log = folder.resolve("log");
        long first = pid(cli.succeed("run", "--json", "-o", log.toString(), "--", "sleep", "1000"));
        Outcome swapped = cli.run("swap", one.toString(), two.toString(), "--pid", String.valueOf(first), "--json");
        assertThat(swapped.exitCode()).as(swapped.err()).isNotZero();
        assertThat(swapped.err())
                .contains("the service in " + two + " did not come back, and the first one runs again, with pid "
                        + first);
        assertThat(ProcessStat.runs(first)).isTrue();
        assertThat(ServicePid.find(one)).isEqualTo(first);
    }

    /** Nothing that is there more often after ten swaps than after two. */
    @Test
    void tenSwapsLeaveNothingBehind() throws Exception {
        JsonObject pool = cli.succeed("pool", "start", "--json").json().getAsJsonObject("pool");
        List<Path> states = List.of(folder.resolve("one"), folder.resolve("two"));
        List<String> images = List.of(
                folder.resolve("images-one").toString(),
                folder.resolve("images-two").toString());
        List<String> checksums = new ArrayList<>();
        long running = 0;
        for (int i = 0; i < 2; i++) {
            running = pid(cli.succeed(Cli.worker(states.get(i))));
            long started = running;
            Cli.ask(states.get(i), "wait-ready");
            checksums.add(Cli.ask(states.get(i), "checksum"));
            if (i == 0) {
                cli.succeed("checkpoint", String.valueOf(started), images.getFirst(), "--json");
                Cli.await(
                        "the end of the dumped process",
                        () -> ProcessHandle.of(started).isEmpty());
            }
        }
        List<String> files = List.of();
        long descriptors = 0;
        for (int i = 0; i < 10; i++) {
            int back = i % 2;
            var arguments = new ArrayList<>(List.of("swap", images.get(1 - back), images.get(back), "--json"));
            if (i == 0) {
                arguments.addAll(List.of("--pid", String.valueOf(running)));
            }
            pid(cli.succeed(arguments.toArray(String[]::new)));
            assertThat(Cli.ask(states.get(back), "checksum")).isEqualTo(checksums.get(back));
            if (i == 1) {
                files = files();
                descriptors = descriptors(pool.get("pid").getAsLong());
            }
        }
        assertThat(files()).isEqualTo(files);
        long poolPid = pool.get("pid").getAsLong();
        long atFirst = descriptors;
        Cli.await("the pool to have closed the last connection", () -> descriptors(poolPid) <= atFirst);
        pool = cli.succeed("pool", "status", "--json").json().getAsJsonObject("pool");
        assertThat(pool.get("device_held_bytes").getAsLong()).isZero();
        assertThat(pool.get("runs").getAsLong()).isZero();
    }

    /** Without the numbers in their names, which each dump gives anew. */
    private List<String> files() throws IOException {
        try (Stream<Path> files = Files.walk(folder)) {
            return files.map(file -> folder.relativize(file).toString().replaceAll("[0-9a-f]{32}|\\d+", "N"))
                    .sorted()
                    .toList();
        }
    }

    private static long descriptors(long pid) throws IOException {
        try (Stream<Path> files = Files.list(Path.of("/proc/" + pid + "/fd"))) {
            return files.count();
        }
    }

    /** What is in the way of everything but the swap itself is only said. */
    @Test
    void swapGoesOnWherePossible() throws Exception {
        Path others = sleeperIn("others");
        Path images = folder.resolve("images");
        // Its parent never collects it.
        Path file = folder.resolve("pid");
        Process parent = new ProcessBuilder(
                        "sh",
                        "-c",
                        "cd " + folder
                                + " && (exec 5<>ghost; head -c 3M /dev/zero >&5; rm ghost; exec setsid sleep 1000)"
                                + " </dev/null >/dev/null 2>&1 & echo $! >" + file + "; exec sleep 1000")
                .inheritIO()
                .start();
        try {
            Cli.await("the service", () -> Files.exists(file) && Files.size(file) > 0);
            long running = Long.parseLong(Files.readString(file).strip());
            Cli.await(
                    "its program",
                    () -> Files.readString(Path.of("/proc/" + running + "/comm"))
                            .equals("sleep\n"));
            // Where its pid is noted, something else stands already.
            Files.createDirectories(images.resolve("rekindle-service.pid/something"));
            String well = "grep -q . " + others.resolve("rekindle-service.pid");
            Outcome swapped = cli.succeed(
                    "swap",
                    images.toString(),
                    others.toString(),
                    "--preset",
                    "inference",
                    "--pid",
                    String.valueOf(running),
                    "--health-command",
                    well,
                    "--json");
            pid(swapped);
            assertThat(swapped.json().get("parked_pid").getAsLong()).isEqualTo(running);
            assertThat(swapped.err()).contains("rekindle-service.pid").contains("does no harm");
        } finally {
            parent.destroyForcibly().waitFor();
        }
    }
}
