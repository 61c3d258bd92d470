// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import dev.rekindle.cli.Cli.Outcome;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import org.junit.jupiter.api.Test;

/** {@code --park}, with real CRIU and the simulated driver. */
class ParkCommandTest extends OperatorFolder {
    private static final long BYTES = 24 << 20;

    private static long resident(JsonObject run) {
        return run.get("resident_bytes").getAsLong();
    }

    private JsonArray imagesInMemory() {
        return cli.succeed("pool", "status", "--json")
                .json()
                .getAsJsonObject("pool")
                .getAsJsonArray("images");
    }

    @Test
    void swapParksOneAndFindsTheOther() throws Exception {
        cli.succeed("pool", "start", "--json");
        Path one = folder.resolve("one");
        Path two = folder.resolve("two");
        String images = folder.resolve("images-one").toString();
        String others = folder.resolve("images-two").toString();
        long parked = pid(cli.succeed(Cli.worker(one)));
        Cli.ask(one, "wait-ready");
        String first = Cli.ask(one, "checksum");
        assertThat(resident(cli.succeed("checkpoint", String.valueOf(parked), images, "--park", "device", "--json")
                        .json()
                        .getAsJsonObject("run")))
                .isEqualTo(BYTES);
        assertThat(ProcessStat.awaitEnd(parked, Duration.ofSeconds(30))).isTrue();
        Cli.await(
                "memory to be compared",
                () -> "filled"
                        .equals(imagesInMemory()
                                .get(0)
                                .getAsJsonObject()
                                .get("state")
                                .getAsString()));
        JsonObject there = imagesInMemory().get(0).getAsJsonObject();
        assertThat(there.get("parked").getAsBoolean()).isTrue();
        assertThat(there.get("taken").getAsBoolean()).isFalse();
        assertThat(cli.succeed("pool", "status").out()).containsPattern("(?m)images-one +filled +device .* parking$");

        long running = pid(cli.succeed(Cli.worker(two)));
        Cli.ask(two, "wait-ready");
        String second = Cli.ask(two, "checksum");
        JsonObject swapped = cli.succeed(
                        "swap", others, images, "--pid", String.valueOf(running), "--park", "device", "--json")
                .json();
        assertThat(resident(swapped.getAsJsonObject("checkpoint"))).isEqualTo(BYTES);
        assertThat(resident(swapped.getAsJsonObject("restore"))).isEqualTo(BYTES);
        assertThat(Cli.ask(one, "checksum")).isEqualTo(first);
        Outcome back = cli.succeed("swap", images, others, "--park", "device");
        assertThat(back.err()).isEmpty();
        assertThat(Cli.ask(two, "checksum")).isEqualTo(second);
        assertThat(cli.succeed("stats", "restore", others).out()).contains("24.0 MiB were found in the pool");
        assertThat(cli.succeed("stats", "checkpoint", images).out())
                .contains("24.0 MiB stay in the pool for the next restore");
        cli.succeed("pool", "drop", images);
        assertThat(imagesInMemory()).isEmpty();
    }

    @Test
    void restoresCopyFromPinnedMemory() throws Exception {
        Path configuration =
                Files.writeString(folder.resolve("rekindle.conf"), "[rekindle]\nREKINDLE_PINNED_BUDGET=64M\n");
        cli.succeed("pool", "start", "--config", configuration.toString(), "--json");
        Path state = folder.resolve("worker");
        String pid = String.valueOf(pid(cli.succeed(Cli.worker(state))));
        Cli.ask(state, "wait-ready");
        String before = Cli.ask(state, "checksum");
        String images = folder.resolve("images").toString();
        assertThat(resident(cli.succeed("dump", pid, images, "--park", "pinned", "--json")
                        .json()
                        .getAsJsonObject("run")))
                .isEqualTo(BYTES);
        Cli.await("the copy", () -> imagesInMemory().toString().contains("\"tier\":\"pinned\""));
        assertThat(cli.succeed("pool", "status").out()).containsPattern("(?m)images +filled +pinned .* parking$");
        // It is there already.
        cli.succeed("pool", "prefetch", "--tier", "pinned", images, "--json").json();
        pid(cli.succeed("restore", images, "--json"));
        assertThat(Cli.ask(state, "checksum")).isEqualTo(before);
        JsonObject pool = cli.succeed("pool", "status", "--json").json().getAsJsonObject("pool");
        assertThat(pool.get("images_pinned").getAsLong()).isEqualTo(1);
        assertThat(pool.get("pinned_held_bytes").getAsLong()).isEqualTo(BYTES);
        assertThat(pool.get("device_held_bytes").getAsLong()).isZero();
        assertThat(cli.succeed("pool", "status").out())
                .contains("1 in pinned memory, 0 had to be read: hit rate 100 %");
    }

    @Test
    void whatCannotBeParkedIsSaid() throws Exception {
        Path state = folder.resolve("worker");
        String pid = String.valueOf(pid(cli.succeed(Cli.worker(state))));
        Cli.ask(state, "wait-ready");
        String images = folder.resolve("images").toString();
        assertThat(cli.run("dump", pid, images, "--park", "elsewhere").exitCode())
                .isEqualTo(2);
        Outcome running = cli.run("dump", pid, images, "--park", "device", "--leave-running");
        assertThat(running.exitCode()).isEqualTo(2);
        assertThat(running.err()).contains("keeps its device memory");
        Outcome dumped = cli.succeed("dump", pid, images, "--park", "device");
        assertThat(dumped.err()).contains("no device memory is parked; dump.log says why");
        assertThat(dumped.out()).doesNotContain("stay in the pool");
    }
}
