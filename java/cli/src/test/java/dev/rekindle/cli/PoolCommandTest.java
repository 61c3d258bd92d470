// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import dev.rekindle.cli.Cli.Outcome;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** The pool from its start to its end: the images that it holds, and what it says of them. */
class PoolCommandTest extends OperatorFolder {
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
                        + " +filled +device +- +1 +24.0 MiB +24.0 MiB +\\S+ s")
                .doesNotContain("hit rate");
        cli.succeed("pool", "drop", images, "--json").json();
        assertThat(held()).isZero();
        assertThat(imagesInMemory()).isEmpty();
        assertThat(cli.succeed("pool", "status").out()).contains("no images in device memory or pinned memory");
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
                .contains("rekindle_pool_images{state=\"filled\",taken=\"false\",tier=\"device\"} 0")
                .containsPattern("(?m)^rekindle_pool_gpu_held_bytes\\{gpu=\"0\",uuid=\"GPU-[^\"]+\"} 0.0$");
        // The dashboard of the package has all of them, and no others.
        Path dashboard =
                Path.of(System.getProperty("rekindle.native.source")).resolve("package/grafana-dashboard.json");
        assertThat(metrics(Files.readString(dashboard))).isEqualTo(metrics(Files.readString(file)));
        assertThat(cli.succeed("pool", "stop", "--json").json().get("pid").getAsLong())
                .isPositive();
    }

    /** At once, and with the sentence of the pool. */
    @Test
    void poolWithoutDriverIsNoPool() throws Exception {
        // It can be opened, and is no driver.
        Path library = Cli.NATIVE.resolve("lib/librekindle.so");
        Outcome none = cli.run("pool", "start", "--cuda-driver", library.toString());
        assertThat(none.exitCode()).as(none.err()).isEqualTo(9);
        assertThat(none.err()).contains("is no CUDA driver").doesNotContain("tries again");
        Cli.await("its end", () -> cli.run("pool", "status").exitCode() == 14);

        Path socket = folder.resolve("other.sock");
        Files.writeString(socket, "somebody's");
        Outcome taken = cli.run("pool", "start", "--pool-socket", socket.toString());
        assertThat(taken.exitCode()).isEqualTo(15);
        assertThat(taken.err()).contains("is no socket, and is left alone");
        assertThat(socket).hasContent("somebody's");
    }

    @Test
    void poolOfAnInterruptedStartIsEnded() {
        Thread.currentThread().interrupt();
        Outcome outcome;
        try {
            outcome = cli.run("pool", "start");
        } finally {
            Thread.interrupted();
        }
        assertThat(outcome.exitCode()).as(outcome.err()).isEqualTo(18);
        assertThat(outcome.err()).isEqualTo("rekindle: interrupted: rekindled, which had begun, was ended\n");
        Cli.await("its end", () -> cli.run("pool", "status").exitCode() == 14);
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
}
