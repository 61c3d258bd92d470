// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import dev.rekindle.cli.Cli.Outcome;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What an operator does with the program, from the start of a service on, with real CRIU and the simulated driver. */
class OperatorTest {
    @TempDir
    private Path folder;

    private Cli cli;
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

    private long pid(Outcome outcome) {
        long pid = outcome.json().get("pid").getAsLong();
        pids.add(pid);
        return pid;
    }

    @Test
    void serviceFromItsStartToItsReturn() throws Exception {
        Path state = folder.resolve("worker");
        Outcome started = cli.succeed(Cli.worker(state));
        long pid = pid(started);
        assertThat(started.json().get("agent").getAsBoolean()).as(started.out()).isTrue();
        Cli.ask(state, "wait-ready");
        String before = Cli.ask(state, "checksum");

        String images = folder.resolve("images").toString();
        Outcome dumped = cli.succeed("dump", String.valueOf(pid), images, "--preset", "inference", "--json");
        assertThat(dumped.err()).contains("--link-remap --enable-external-masters --tcp-established --file-locks");
        JsonObject process = dumped.json()
                .getAsJsonObject("run")
                .getAsJsonArray("processes")
                .get(0)
                .getAsJsonObject();
        assertThat(process.get("mode").getAsString()).isEqualTo("offload");
        Cli.await("the end of the dumped process", () -> ProcessHandle.of(pid).isEmpty());

        Path page = folder.resolve("page.html");
        JsonObject image = cli.succeed("inspect", images, "--json", "--verify", "--html", page.toString())
                .json();
        assertThat(Files.readString(page))
                .contains("SIMULATED GPU", ">GPU memory<", "rekindle-worker (" + pid + ")", "offload", "<svg")
                .contains("--mib 24 --pieces 6", "checksums right in", ">pages-1.img<")
                .doesNotContain("NaN", "<script", "src=", "href=");
        JsonObject inside = image.getAsJsonArray("processes").get(0).getAsJsonObject();
        assertThat(inside.getAsJsonArray("command").get(0).getAsString()).endsWith("rekindle-worker");
        assertThat(inside.get("mappings").getAsInt()).isGreaterThan(10);
        assertThat(inside.get("anonymous_bytes").getAsLong()
                        + inside.get("file_backed_bytes").getAsLong())
                .isEqualTo(inside.get("host_bytes").getAsLong());
        JsonObject gpu = inside.getAsJsonArray("gpus").get(0).getAsJsonObject();
        assertThat(gpu.get("device_bytes").getAsLong())
                .isEqualTo(inside.get("device_bytes").getAsLong());
        assertThat(inside.getAsJsonArray("device_allocations"))
                .hasSize(6)
                .allSatisfy(allocation -> assertThat(
                                allocation.getAsJsonObject().get("gpu").getAsInt())
                        .isEqualTo(gpu.get("number").getAsInt()));
        assertThat(image.getAsJsonArray("runs")).hasSize(1);
        assertThat(image.getAsJsonObject("sizes").get("gpu_memory_bytes").getAsLong())
                .isGreaterThan(16 << 20);
        assertThat(image.get("verified_bytes").getAsLong()).isGreaterThan(16 << 20);
        assertThat(cli.succeed("stats", "checkpoint", images, "--json")
                        .json()
                        .get("kind")
                        .getAsString())
                .isEqualTo("checkpoint");
        assertThat(cli.succeed("metrics", images).out())
                .contains("rekindle_pool_up 0")
                .containsPattern("rekindle_run_success\\{directory=\"" + images + "\",kind=\"checkpoint\"} 1");

        Outcome restored = cli.succeed("restore", images, "--preset", "inference", "--cleanup", "--json");
        assertThat(pid(restored)).isEqualTo(pid);
        assertThat(restored.json().get("removed").getAsBoolean()).isTrue();
        try (Stream<Path> files = Files.exists(Path.of(images)) ? Files.list(Path.of(images)) : Stream.empty()) {
            assertThat(files).as("what is left").isEmpty();
        }
        assertThat(Path.of(images)).doesNotExist();
        assertThat(Cli.ask(state, "checksum")).isEqualTo(before);
    }

    /** Whatever else has come into the folder is not of the checkpoint, whatever it is called. */
    @Test
    void cleanupTakesTheCheckpointOnly() throws Exception {
        Path images = sleeperIn("images");
        List<Path> foreign = new ArrayList<>();
        for (String name : List.of("serve.log", "disk.img", "pages-9.img", "restore.log.old")) {
            foreign.add(Files.createFile(images.resolve(name)));
        }
        pid(cli.succeed("restore", images.toString(), "--cleanup", "--json", "-o", "my.log"));
        try (Stream<Path> files = Files.list(images)) {
            assertThat(files).containsExactlyInAnyOrderElementsOf(foreign);
        }
    }

    /** The process runs then, so its pid is told first. */
    @Test
    void failedCleanupKeepsThePid() throws Exception {
        Path images = sleeperIn("images");
        // What is mounted upon cannot be removed.
        String held = images.resolve("inventory.img").toString();
        system("mount", "--bind", held, held);
        try {
            Outcome restored = cli.run("restore", images.toString(), "--cleanup", "--json");
            assertThat(restored.exitCode()).isEqualTo(1);
            assertThat(ProcessHandle.of(pid(restored))).isPresent();
            assertThat(restored.json().get("removed").getAsBoolean()).isFalse();
            assertThat(restored.err()).contains("the process is restored").contains(held);
        } finally {
            system("umount", held);
        }
    }

    /** Returns the folder with its checkpoint. */
    private Path sleeperIn(String name) {
        Path images = folder.resolve(name);
        Path log = folder.resolve(name + ".log");
        long pid = pid(cli.succeed("run", "--json", "-o", log.toString(), "--", "sleep", "1000"));
        cli.succeed("checkpoint", String.valueOf(pid), images.toString());
        Cli.await("the end of the dumped process", () -> ProcessHandle.of(pid).isEmpty());
        return images;
    }

    private static void system(String... command) throws Exception {
        Process process = new ProcessBuilder(command).inheritIO().start();
        assertThat(process.waitFor()).as(String.join(" ", command)).isZero();
    }

    /** In a pid namespace of its own it comes back while another process has its old id, here its own first copy. */
    @Test
    void namespacesLetItComeBackBesideItself() throws Exception {
        Path log = folder.resolve("log");
        Outcome started = cli.succeed(
                "run", "--json", "--pid-namespace", "--net-namespace", "-o", log.toString(), "--", "sleep", "1000");
        long first = pid(started);
        String images = folder.resolve("images").toString();
        cli.succeed("checkpoint", String.valueOf(first), images, "-R", "--json");
        long second = pid(cli.succeed("restore", images, "--json"));
        long third = pid(cli.succeed("restore", images, "--json"));
        assertThat(List.of(first, second, third))
                .doesNotHaveDuplicates()
                .allMatch(pid -> ProcessHandle.of(pid).isPresent());
    }

    @Test
    void programThatCannotStartIsNoProcess() {
        Outcome outcome = cli.run("run", "--json", "-o", folder.resolve("log").toString(), "--", "false");
        assertThat(outcome.exitCode()).isEqualTo(5);
        assertThat(outcome.err())
                .contains("false ended at once with exit status 1")
                .contains("log");
        assertThat(outcome.json().getAsJsonObject("error").get("code").getAsString())
                .isEqualTo("no_such_process");
    }

    /** CRIU numbers the links of deleted files by process: those of a checkpoint that is replaced are in the way. */
    @Test
    void linksOfAnEarlierDumpAreNotInTheWay() throws Exception {
        Path foreign = Files.createFile(folder.resolve("link_remap.77777"));
        String images = folder.resolve("images").toString();
        cli.succeed("checkpoint", readerOfADeletedFile(), images, "--link-remap", "--json");
        List<Path> links = links();
        assertThat(links).hasSize(2).contains(foreign);

        String reader = readerOfADeletedFile();
        // A dump that fails leaves the earlier checkpoint its link.
        assertThat(cli.run("checkpoint", reader, images, "--link-remap", "--criu-argument", "--no-such-option")
                        .exitCode())
                .isNotZero();
        assertThat(links()).isEqualTo(links);
        assertThat(cli.succeed("doctor", "--images", images).out())
                .containsPattern("(?m)^warn  link_remap files .*link_remap")
                .doesNotContain(foreign.toString());

        Outcome again = cli.succeed("checkpoint", reader, images, "--link-remap", "--json");
        assertThat(again.json().getAsJsonArray("removed_links")).hasSize(1);
        assertThat(links()).isEqualTo(links);

        // As a dump that was killed in the middle leaves it.
        Path link =
                links.stream().filter(path -> !path.equals(foreign)).findFirst().orElseThrow();
        Path aside = link.resolveSibling(link.getFileName() + ".rekindle-aside");
        Files.move(link, aside);
        assertThat(cli.succeed("doctor", "--images", images).out()).contains(aside.toString());
        assertThat(aside).as("the doctor only looks").exists();
        pid(cli.succeed("restore", images, "--link-remap", "--json"));
    }

    /** One that is deleted under one of its names. */
    private String readerOfADeletedFile() throws IOException {
        Path file = Files.writeString(folder.resolve("file"), "text");
        Path other = folder.resolve("other");
        Files.deleteIfExists(other);
        Files.createLink(other, file);
        Path log = folder.resolve("log");
        Files.deleteIfExists(log);
        String script = "exec 5<" + file + "; echo ready; exec sleep 1000";
        long pid = pid(cli.succeed("run", "--json", "-o", log.toString(), "--", "sh", "-c", script));
        Cli.await("the file to be open", () -> Files.size(log) > 0);
        Files.delete(file);
        return String.valueOf(pid);
    }

    private List<Path> links() throws IOException {
        try (Stream<Path> files = Files.list(folder)) {
            return files.filter(path -> String.valueOf(path.getFileName()).startsWith("link_remap"))
                    .sorted()
                    .toList();
        }
    }

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

    @Test
    void poolHoldsImagesAndGivesThemUp() throws Exception {
        Outcome pool = cli.succeed("pool", "start", "--json");
        assertThat(pool.json().getAsJsonObject("pool").get("contexts").getAsInt())
                .isEqualTo(1);
        assertThat(cli.run("pool", "start").exitCode()).isNotZero();
        Path state = folder.resolve("worker");
        long pid = pid(cli.succeed(Cli.worker(state)));
        Cli.ask(state, "wait-ready");
        String images = folder.resolve("images").toString();
        cli.succeed("checkpoint", String.valueOf(pid), images, "--leave-running");
        assertThat(cli.run("pool", "drop", images).exitCode()).isNotZero();
        assertThat(cli.succeed("pool", "prefetch", images, "--json")
                        .json()
                        .get("prefetched")
                        .getAsBoolean())
                .isTrue();
        Cli.await(
                "memory to be filled",
                () -> "filled"
                        .equals(imagesInMemory()
                                .getFirst()
                                .getAsJsonObject()
                                .get("state")
                                .getAsString()));
        JsonObject filled = imagesInMemory().getFirst().getAsJsonObject();
        assertThat(filled.get("directory").getAsString())
                .isEqualTo(Path.of(images).toRealPath().toString());
        assertThat(filled.get("taken").getAsBoolean()).isFalse();
        assertThat(filled.get("processes").getAsInt()).isEqualTo(1);
        assertThat(filled.get("bytes").getAsLong()).isEqualTo(24 << 20);
        assertThat(filled.get("filled_bytes").getAsLong()).isEqualTo(24 << 20);
        assertThat(filled.get("age_seconds").getAsDouble()).isPositive();
        JsonObject gpu = pool().getAsJsonArray("gpus").get(0).getAsJsonObject();
        assertThat(gpu.get("held_bytes").getAsLong()).isEqualTo(24 << 20);
        assertThat(gpu.get("free_bytes").getAsLong()).isPositive();
        assertThat(cli.succeed("pool", "status").out())
                .containsPattern("(?m)^0 +SIMULATED.* GPU-\\S+ +warm +24.0 MiB +\\S+ .iB +\\S+ .iB")
                .containsPattern("(?m)^" + Pattern.quote(filled.get("directory").getAsString())
                        + " +filled +- +1 +24.0 MiB +24.0 MiB +\\S+ s")
                .doesNotContain("hit rate");
        cli.succeed("pool", "drop", images, "--json").json();
        assertThat(held()).isZero();
        assertThat(imagesInMemory()).isEmpty();
        assertThat(cli.succeed("pool", "status").out()).contains("no images in device memory");
        Cli.kill(pid);
        // Once found in device memory, once read.
        assertRestores(images, 1, 0, true, "hit rate 100 %");
        assertRestores(images, 1, 1, false, "1 of 2 restored GPU images .*, 1 had to be read: hit rate 50 %");

        Path file = folder.resolve("rekindle.prom");
        cli.succeed("metrics", "-o", file.toString(), images, "--json").json();
        assertThat(Files.readString(file))
                .contains("rekindle_pool_up 1")
                .contains("# TYPE rekindle_pool_checkpointed_processes_total counter")
                .contains("rekindle_pool_checkpointed_processes_total 1")
                .contains("rekindle_pool_restored_images_total{found=\"resident\"} 1")
                .contains("rekindle_pool_restored_images_total{found=\"read\"} 1")
                .contains("rekindle_pool_images{state=\"filled\",taken=\"false\"} 0")
                .containsPattern("(?m)^rekindle_pool_gpu_held_bytes\\{gpu=\"0\",uuid=\"GPU-[^\"]+\"} 0.0$");
        // The dashboard of the package has all of them, and no others.
        Path dashboard =
                Path.of(System.getProperty("rekindle.native.source")).resolve("package/grafana-dashboard.json");
        assertThat(metrics(Files.readString(dashboard))).isEqualTo(metrics(Files.readString(file)));
        assertThat(cli.succeed("pool", "stop", "--json").json().get("pid").getAsLong())
                .isPositive();
    }

    private static Set<String> metrics(String text) {
        return Pattern.compile("rekindle_(?:pool|run)_\\w+")
                .matcher(text)
                .results()
                .map(result -> result.group())
                .filter(name -> !name.endsWith("_created"))
                .collect(Collectors.toCollection(TreeSet::new));
    }

    private JsonObject pool() {
        return cli.succeed("pool", "status", "--json").json().getAsJsonObject("pool");
    }

    private long held() {
        return pool().get("device_held_bytes").getAsLong();
    }

    private List<JsonElement> imagesInMemory() {
        return pool().getAsJsonArray("images").asList();
    }

    /** A restore of a process that is then ended, and what the pool says of it. */
    private void assertRestores(String images, long resident, long read, boolean ahead, String text) throws Exception {
        if (ahead) {
            cli.succeed("pool", "prefetch", images);
            Cli.await(
                    "memory to be filled",
                    () -> imagesInMemory().getFirst().toString().contains("\"filled\""));
        }
        long pid = pid(cli.succeed("restore", images, "--json"));
        assertThat(pool().get("images_resident").getAsLong()).isEqualTo(resident);
        assertThat(pool().get("images_read").getAsLong()).isEqualTo(read);
        assertThat(cli.succeed("pool", "status").out()).containsPattern(text);
        Cli.kill(pid);
    }

    @Test
    void doctorSaysWhatIsHere() {
        Outcome healthy = cli.succeed("doctor", "--json", "--images", folder.toString());
        assertThat(healthy.json().getAsJsonArray("findings")).hasSizeGreaterThan(15);
        Outcome text = cli.succeed("doctor");
        assertThat(text.out())
                .containsPattern("(?m)^pass  criu build +with Rekindle's patches")
                .containsPattern("(?m)^warn  pool ")
                .contains("to fix: start one with 'rekindle pool start'");
        Outcome ill = cli.run("doctor", "--criu", "/bin/false", "--json");
        assertThat(ill.exitCode()).isEqualTo(1);
        assertThat(ill.json().get("status").getAsString()).isEqualTo("fail");
    }

    /** Everything on a terminal too, where progress is drawn and nothing else changes. */
    @Test
    void restoredOnATerminal() throws Exception {
        Path log = folder.resolve("log");
        long pid = pid(cli.succeed("run", "--json", "-o", log.toString(), "--", "sleep", "1000"));
        Outcome dumped = cli.onTerminal(
                "checkpoint", String.valueOf(pid), folder.resolve("images").toString());
        assertThat(dumped.exitCode()).as(dumped.out()).isZero();
        assertThat(dumped.out()).contains("checkpoint done in");
        Cli.await("the end of the dumped process", () -> ProcessHandle.of(pid).isEmpty());
    }
}
