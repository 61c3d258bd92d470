// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonObject;
import dev.rekindle.cli.Cli.Outcome;
import dev.rekindle.pages.Browser;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** What an operator does with the program, from the start of a service on, with real CRIU and the simulated driver. */
class OperatorTest extends OperatorFolder {
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

        Path page = folder.resolve("inspect.html");
        JsonObject image = cli.succeed("inspect", images, "--json", "--verify", "--html", page.toString())
                .json();
        assertThat(Files.readString(page))
                .contains("SIMULATED GPU", ">GPU memory<", "rekindle-worker (" + pid + ")", "offload", "<svg")
                .contains("--mib 24 --pieces 6", "checksums right in", ">pages-1.img<")
                .doesNotContain("NaN", "<script", "src=", "href=");
        Browser.assertWell(page, 3);
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

    /** The pid that is printed is the program's, and the same before and after. */
    @Test
    void networkOfItsOwnAlone() throws Exception {
        Path log = folder.resolve("log");
        long pid = pid(cli.succeed("run", "--json", "--net-namespace", "-o", log.toString(), "--", "sleep", "1000"));
        Cli.await(
                "the program",
                () -> Files.readString(Path.of("/proc/" + pid + "/comm")).equals("sleep\n"));
        assertThat(Files.readSymbolicLink(Path.of("/proc/" + pid + "/ns/net")))
                .isNotEqualTo(Files.readSymbolicLink(Path.of("/proc/self/ns/net")));
        String images = folder.resolve("images").toString();
        cli.succeed("checkpoint", String.valueOf(pid), images);
        Cli.await("the end of the dumped process", () -> ProcessHandle.of(pid).isEmpty());
        assertThat(pid(cli.succeed("restore", images, "--json"))).isEqualTo(pid);
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

    /** Said before anything is stopped, with the option that allows it; and a dump refuses it at once. */
    @Test
    void whatOnlyOptionsAllowIsSaidBefore() throws Exception {
        Path log = folder.resolve("log");
        Path lock = folder.resolve("lock");
        String script = "exec 5<>" + lock + "; flock 5; echo ready; exec sleep 1000";
        long pid = pid(cli.succeed("run", "--json", "-o", log.toString(), "--", "sh", "-c", script));
        Cli.await("the lock", () -> Files.size(log) > 0);
        Outcome checked = cli.run("check", String.valueOf(pid));
        assertThat(checked.exitCode()).as(checked.err()).isEqualTo(1);
        assertThat(checked.out()).contains("has a lock on the file " + lock).contains("--file-locks");
        Path images = folder.resolve("images");
        Outcome refused = cli.run("checkpoint", String.valueOf(pid), images.toString());
        assertThat(refused.exitCode()).isEqualTo(13);
        assertThat(refused.err()).contains("--file-locks");
        assertThat(images.resolve("dump.log")).doesNotExist();
        assertThat(cli.succeed("check", String.valueOf(pid), "--file-locks").out())
                .contains("nothing of what was looked for");
        cli.succeed("checkpoint", String.valueOf(pid), images.toString(), "--file-locks");
        Cli.await("the end of the dumped process", () -> ProcessHandle.of(pid).isEmpty());
        pid(cli.succeed("restore", images.toString(), "--file-locks", "--json"));
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
    void doctorSaysWhatIsHere() {
        Outcome healthy = cli.succeed("doctor", "--json", "--images", folder.toString());
        assertThat(healthy.json().getAsJsonArray("findings")).hasSizeGreaterThan(15);
        Outcome text = cli.succeed("doctor");
        assertThat(text.out())
                .containsPattern("(?m)^pass  criu build +with Rekindle's patches")
                .containsPattern("(?m)^warn  pool ")
                .contains("to fix: start one with 'rekindle pool start'");
        // Where settings cannot be read that is one finding, and nothing is said of what depends on them.
        String nothing = folder.resolve("nothing").toString();
        for (String option : List.of("--config", "--cuda-driver")) {
            Outcome unread = cli.run("doctor", option, nothing);
            assertThat(unread.exitCode()).isEqualTo(1);
            assertThat(unread.out())
                    .containsPattern("(?m)^fail  settings +.*" + nothing)
                    .doesNotContain("install the whole release")
                    .doesNotContainPattern("(?m)^fail  (criu|plugin|pool|checkpoint)");
        }
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
