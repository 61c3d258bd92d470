// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import dev.rekindle.Rekindle;
import dev.rekindle.cli.Cli.Outcome;
import dev.rekindle.pages.Browser;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Cold starts beside restores, and the page that shows them. */
class BenchTest {
    @TempDir
    private Path folder;

    /** A service with a connection, that is well while it touches a file, and one that is not any more does not. */
    private Outcome bench(String... options) {
        Path alive = folder.resolve("alive"); // a folder: a file could be open in the checkpoint
        var all = new ArrayList<>(List.of(
                "bench",
                "--settle",
                "0",
                "--pid-namespace",
                "--net-namespace",
                "--tcp-established",
                "--health-command",
                "rm -rf " + alive + "; sleep 0.1; test -e " + alive));
        all.addAll(List.of(options));
        all.addAll(List.of(
                "--",
                "python3",
                "-c",
                "import os, socket, time\n"
                        + "server = socket.create_server(('127.0.0.1', 8000))\n"
                        + "connection = socket.create_connection(('127.0.0.1', 8000))\naccepted = server.accept()\n"
                        + "while True:\n try: os.mkdir('" + alive + "')\n except FileExistsError: pass\n"
                        + " time.sleep(0.01)"));
        return new Cli(folder).run(all.toArray(String[]::new));
    }

    /** The distribution's, if there is one, may be too old for the kernel. */
    private static Path criu() {
        try (Rekindle rekindle = Rekindle.builder()
                .cudaDriver(Cli.SIMULATED.resolve("libcuda.so.1"))
                .build()) {
            return rekindle.criuProgram();
        }
    }

    /** What the sentence names can be read. */
    @Test
    void logsStayWhereItFails() throws Exception {
        Outcome outcome = new Cli(folder)
                .run(
                        "bench",
                        "--settle",
                        "0",
                        "--health-timeout",
                        "1",
                        "--health-command",
                        "false",
                        "--",
                        "sh",
                        "-c",
                        "echo the reason; exec sleep 1000");
        assertThat(outcome.exitCode()).as(outcome.err()).isEqualTo(17);
        Path kept = Path.of(outcome.err()
                .lines()
                .filter(line -> line.contains("the logs stay in "))
                .findFirst()
                .orElseThrow()
                .replaceFirst(".* stay in ", ""));
        try {
            assertThat(outcome.err()).contains(kept.resolve("program.log").toString());
            assertThat(kept.resolve("program.log")).hasContent("the reason");
            try (Stream<Path> files = Files.list(kept)) {
                assertThat(files).allMatch(file -> file.toString().endsWith(".log"));
            }
        } finally {
            Files.deleteIfExists(kept.resolve("program.log"));
            Files.deleteIfExists(kept);
        }
    }

    /** Whatever is under way: here criu brings something back, which comes only after the end of this. */
    @Test
    void whatAnInterruptedOneStartsIsEnded() throws Exception {
        Path criu = Files.writeString(folder.resolve("criu"), """
                #!/bin/sh
                action=$1
                while [ $# -gt 0 ]; do
                    case $1 in
                    -t) kill -9 "$2" ;;
                    --pidfile) file=$2 ;;
                    esac
                    shift
                done
                [ "$action" = restore ] || exit 0
                cut -d ' ' -f 6 /proc/$$/stat >FOLDER/session
                echo $$ >FOLDER/restoring
                until [ -e FOLDER/go ]; do sleep 0.01; done
                setsid sleep 1000 &
                echo $! >"$file"
                cp "$file" FOLDER/restored
                """.replace("FOLDER", folder.toString()));
        assertThat(criu.toFile().setExecutable(true)).isTrue();
        var ended = new CompletableFuture<Outcome>();
        Thread command =
                Thread.ofPlatform().start(() -> ended.complete(bench("--stock-criu", criu.toString(), "-n", "1")));
        Path restored = folder.resolve("restored");
        try {
            Cli.await("the restore", () -> has(folder.resolve("restoring")));
            assertThat(folder.resolve("session"))
                    .as("Ctrl-C does not reach it")
                    .hasSameTextualContentAs(folder.resolve("restoring"));
            command.interrupt();
            Cli.await("the interrupt", () -> !command.isInterrupted());
        } finally {
            Files.createFile(folder.resolve("go"));
        }
        Outcome outcome = ended.get(60, TimeUnit.SECONDS);
        assertThat(outcome.exitCode()).as(outcome.err()).isEqualTo(18);
        assertThat(outcome.err())
                .endsWith("rekindle: interrupted: nothing was measured, and what it had started is ended\n")
                .doesNotContain("the logs stay");
        Cli.await("criu's end", () -> has(restored));
        long pid = Long.parseLong(Files.readString(restored).strip());
        assertThat(ProcessStat.runs(pid)).isFalse();
    }

    private static boolean has(Path file) throws Exception {
        return Files.exists(file) && Files.size(file) > 0;
    }

    /** Earlier errors may be harmless. */
    @Test
    void lastErrorOfALog() throws Exception {
        Path log = Files.writeString(folder.resolve("dump.log"), """
                (00.000) Error (criu/util.c:1): rlimit: can't raise
                (00.002) Error (criu/x.c:7): the reason
                (00.003) Error (criu/cr-dump.c:2): Dumping FAILED.
                """);
        assertThat(BenchSide.Stock.lastError(log)).endsWith("the reason");
    }

    @Test
    void eachSideIsMeasuredAndShown() throws Exception {
        Path page = folder.resolve("bench.html");
        Path work = folder.resolve("work");
        Outcome outcome = bench(
                "--rounds",
                "2",
                "--stock-criu",
                criu().toString(),
                "--work",
                work.toString(),
                "--html",
                page.toString(),
                "--json");
        assertThat(outcome.exitCode()).as(outcome.err()).isZero();
        JsonObject result = outcome.json();
        assertThat(result.get("cache").getAsString()).isEqualTo("warm");
        List<JsonElement> sides = result.getAsJsonArray("sides").asList();
        assertThat(sides)
                .extracting(side -> side.getAsJsonObject().get("side").getAsString())
                .containsExactly("cold_start", "stock", "rekindle");
        for (JsonElement side : sides) {
            assertThat(side.getAsJsonObject().get("failure").getAsString()).isEmpty();
            assertThat(side.getAsJsonObject().getAsJsonArray("seconds")).hasSize(2);
            assertThat(side.getAsJsonObject()
                            .getAsJsonObject("summary")
                            .get("ratio")
                            .getAsDouble())
                    .isPositive();
        }
        assertThat(sides.getLast()
                        .getAsJsonObject()
                        .getAsJsonObject("last_run")
                        .get("kind")
                        .getAsString())
                .isEqualTo("restore");
        assertThat(work.resolve("stock/inventory.img")).exists();

        String html = Files.readString(page);
        assertThat(html)
                .containsSubsequence(
                        "the speed of a stock CRIU restore", "that of a cold start", "2 rounds, warm caches", "<svg")
                .containsSubsequence(">cold start<", ">stock CRIU<", ">Rekindle<")
                .contains("prefers-color-scheme: dark", "width=device-width")
                .doesNotContain("NaN", "Infinity", "<script", "src=", "href=", "@import", "url(");
        assertThat(html).as("a phone shows the ratio").containsSubsequence("<th>median</th><th>ratio</th>", "<th>p95");
        assertThat(html.split("<circle", -1)).as("every run is there").hasSize(3 * 2 + 1);
        for (String drawing : html.split("(?=<svg)|(?<=</svg>)", -1)) {
            if (drawing.startsWith("<svg")) {
                DocumentBuilderFactory.newInstance()
                        .newDocumentBuilder()
                        .parse(new java.io.ByteArrayInputStream(
                                drawing.getBytes(java.nio.charset.StandardCharsets.UTF_8)));
            }
        }

        assertThat(Browser.assertWell(page, 2).heading()).contains("the speed of a stock CRIU restore");

        Path document = Files.writeString(folder.resolve("bench.json"), outcome.out());
        Path again = folder.resolve("again.html");
        new Cli(folder)
                .succeed("report", document.toString(), "-o", again.toString(), "--json")
                .json();
        assertThat(again).content().isEqualTo(html);
    }

    /** As they began, whatever the order of the statistics. */
    @Test
    void phasesStandInTheirOrder() throws Exception {
        Path document = Files.writeString(folder.resolve("bench.json"), """
                {"command": ["serve"], "rounds": 1, "cache": "warm", "not_cold": [],
                 "conditions": {"created": "2026-11-30T12:00:00Z", "kernel": "6.18", "cores": 2, "gpu": "GPU",
                   "simulated": true, "criu": "4.2.1", "stock_criu": "", "images_file_system": "tmpfs"},
                 "sides": [{"side": "rekindle", "seconds": [0.5], "failure": "",
                   "summary": {"median_seconds": 0.5, "p95_seconds": 0.5, "p99_seconds": 0.5, "spread_seconds": 0},
                   "last_run": {"criu": {"restore_seconds": 0.2}, "processes": [{"pid": 7, "phases": [
                     {"phase": "driver_restore", "start_seconds": 0.2, "duration_seconds": 0.2},
                     {"phase": "prefetch", "start_seconds": 0.1, "duration_seconds": 0.2}]}]}}]}
                """);
        Path page = folder.resolve("page.html");
        new Cli(folder).succeed("report", document.toString(), "-o", page.toString());
        assertThat(page).content().containsSubsequence(">prefetch<", ">driver restore<");
    }

    /** Of the stock side only why there is none of it; and nothing is called cold that was not. */
    @Test
    void sideThatCannotBeIsSaid() throws Exception {
        Outcome outcome = bench("-n", "1", "--stock-criu", "/bin/false", "--cold", "-e", "CUDA_CACHE_PATH=/var/tmp");
        assertThat(outcome.exitCode()).as(outcome.err()).isZero();
        assertThat(outcome.out())
                .containsPattern("(?m)^cold start +1 ")
                .containsPattern("(?m)^Rekindle +1 .*1\\.00×")
                .contains("stock CRIU was given up: /bin/false dump ended with exit status 1")
                .contains("warm caches", "not cold: --env CUDA_CACHE_PATH keeps");
    }

    @Test
    void serviceThatIsWellAlreadyOrNeverIsSaid() {
        Outcome early = new Cli(folder).run("bench", "--health-command", "true", "--", "sleep", "1000");
        assertThat(early.exitCode()).isEqualTo(3);
        assertThat(early.err()).contains("well before it was started");
        Outcome never = new Cli(folder)
                .run("bench", "--health-command", "false", "--health-timeout", "1", "--", "sleep", "1000");
        assertThat(never.exitCode()).isEqualTo(17);
        assertThat(never.err()).contains("did not get well");
        long start = System.nanoTime();
        Outcome ended =
                new Cli(folder).run("bench", "--health-command", "false", "--health-timeout", "600", "--", "false");
        assertThat(ended.exitCode()).isEqualTo(17);
        assertThat(Duration.ofNanos(System.nanoTime() - start))
                .as("who has ended is not waited for")
                .isLessThan(Duration.ofMinutes(5));
    }

    @Test
    void cacheIsColdOnlyWhereThatWasSeen() throws Exception {
        Path control = folder.resolve("control");
        Path file = Files.write(folder.resolve("file"), new byte[1 << 20]);
        assertThat(PageCache.drop(control, List.of(file)))
                .hasValueSatisfying(reason -> assertThat(reason).startsWith(file + " is in memory"));
        assertThat(control).content().isEqualTo("3\n");
        assertThat(PageCache.drop(folder.resolve("none/control"), List.of(file)))
                .hasValueSatisfying(reason -> assertThat(reason).contains("could not be dropped"));
        Path hole = folder.resolve("hole");
        try (RandomAccessFile unread = new RandomAccessFile(hole.toFile(), "rw")) {
            unread.setLength(1 << 20);
        }
        assertThat(PageCache.drop(control, List.of(hole))).isEmpty();
    }

    @Test
    void summaryIsOfTheSortedRuns() {
        List<Duration> runs = Stream.of(5, 1, 4, 2, 3).map(Duration::ofSeconds).toList();
        BenchResult.Summary summary = BenchResult.summary(runs, Optional.of(Duration.ofMillis(1500)));
        assertThat(summary)
                .isEqualTo(new BenchResult.Summary(
                        Duration.ofSeconds(3),
                        Duration.ofSeconds(5),
                        Duration.ofSeconds(5),
                        Duration.ofSeconds(1),
                        Duration.ofSeconds(5),
                        Duration.ofSeconds(4),
                        2.0));
        List<Duration> hundred = java.util.stream.IntStream.rangeClosed(1, 100)
                .mapToObj(Duration::ofMillis)
                .toList();
        assertThat(BenchResult.rank(hundred, 0.95)).isEqualTo(Duration.ofMillis(95));
        assertThat(BenchResult.rank(hundred, 0.99)).isEqualTo(Duration.ofMillis(99));
        assertThat(BenchResult.median(hundred)).isEqualTo(Duration.ofNanos(50_500_000));
        assertThat(BenchResult.summary(List.of(), Optional.empty())).isNull();
    }
}
