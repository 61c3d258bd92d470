// SPDX-License-Identifier: MIT
package dev.rekindle.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.gson.Gson;
import dev.rekindle.pages.Browser;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ReportTest {
    @TempDir
    private Path folder;

    @Test
    void onePageHasChartsTimelinesAndConditions() throws Exception {
        String results = """
                [
                 {"benchmark": "dev.rekindle.benchmarks.RestoreBenchmark.restore",
                  "params": {"settings": "STOCK", "cache": "WARM"},
                  "primaryMetric": {"score": 5000.0, "scoreError": "NaN", "scoreUnit": "ms/op", "rawData": [[5000.0]]},
                  "secondaryMetrics": {}},
                 {"benchmark": "dev.rekindle.benchmarks.RestoreBenchmark.restore",
                  "params": {"settings": "REKINDLE_WARM_POOL", "cache": "WARM"},
                  "primaryMetric": {"score": 500.0, "scoreError": 7.5, "scoreUnit": "ms/op", "rawData": [[500.0]]},
                  "secondaryMetrics": {}},
                 {"benchmark": "dev.rekindle.benchmarks.CopyEngineBenchmark.copy",
                  "params": {"source": "DISK", "workers": "1", "chunkMebibytes": "16"},
                  "primaryMetric": {"score": 50.0, "scoreError": 1.0, "scoreUnit": "ms/op"},
                  "secondaryMetrics": {"copyNanoseconds": {"score": 3.0, "rawData": [[1000000, 2000000]]}}},
                 {"benchmark": "dev.rekindle.benchmarks.CopyEngineBenchmark.pinned",
                  "params": {"chunkMebibytes": "16"},
                  "primaryMetric": {"score": 40.0, "scoreError": 1.0, "scoreUnit": "ms/op"},
                  "secondaryMetrics": {"copyNanoseconds": {"score": 3.0, "rawData": [[1000000, 1000000]]}}},
                 {"benchmark": "dev.rekindle.benchmarks.FfmCallBenchmark.emptyCall",
                  "primaryMetric": {"score": 6.0, "scoreError": 0.1, "scoreUnit": "ns/op"},
                  "secondaryMetrics": {}}
                ]
                """;
        Files.writeString(folder.resolve("results.json"), results);
        new Conditions("SIMULATED (<GPU>)", "CUDA 13.0", "4.2.1", "4.2", "6.18", 2, "25", "as said", 8192, 512, "now")
                .write(folder);
        write(new Timeline("STOCK", "WARM", 5000, List.of(new Timeline.Bar("CRIU", 0, 3600, 0))));
        write(new Timeline(
                "REKINDLE_WARM_POOL",
                "WARM",
                500,
                List.of(
                        new Timeline.Bar("driver restore", 200, 250, 0),
                        new Timeline.Bar("prefetch", 10, 400, 1 << 30))));

        Path page = folder.resolve("jmh.html");
        Report.main(new String[] {folder.toString(), page.toString()});

        String html = Files.readString(page);
        assertThat(html)
                .containsSubsequence(
                        "<h1><b>10.0×</b> the speed of a stock CRIU restore",
                        "SIMULATED (&lt;GPU&gt;)",
                        "CUDA 13.0",
                        "6.18",
                        ">stock CRIU, warm cache<",
                        ">5.00 s<",
                        ">Rekindle, a warm pool, warm cache<",
                        ">500.0 ms<",
                        ">prefetch<", // first, as it began first
                        ">driver restore<",
                        ">disk, 1 worker, 16 MiB chunks<",
                        ">pinned memory, one stream, 16 MiB chunks<",
                        ">empty call<",
                        "RestoreBenchmark.restore",
                        "settings stock")
                .doesNotContain("NaN", "{}", "1E", "results.json", "<script", "<img", "src=", "href=", "url(");
        assertThat(html.split("<circle", -1)).as("every run is there").hasSize(2 + 1);
        Browser.assertWell(page, 4);
    }

    @Test
    void severalFoldersWithNamedResultsAreOnePage() throws Exception {
        Path first = Files.createDirectories(folder.resolve("first"));
        Path second = Files.createDirectories(folder.resolve("second"));
        writeNamed(first, "jmh-copy", "GPU one", "CopyEngineBenchmark.copy", 11.125);
        writeNamed(first, "jmh-restore", "GPU two", "RestoreBenchmark.restore", 22.25);
        writeNamed(second, "jmh-ffm", "GPU three", "FfmCallBenchmark.emptyCall", 33.5);
        Files.writeString(first.resolve("restore-c8.json"), "[{\"not\": \"of JMH\"}]");

        Path page = folder.resolve("page.html");
        Report.main(new String[] {first.toString(), second.toString(), page.toString()});

        assertThat(Files.readString(page))
                .containsSubsequence(
                        "Restore of a process with 64 MiB",
                        "GPU two",
                        "22.3 ms",
                        "Host to device, 64 MiB",
                        "GPU one",
                        "11.1 ms",
                        "What a call from Java costs",
                        "GPU three",
                        "33.5 ms")
                .doesNotContain("of JMH");

        Path empty = Files.createDirectories(folder.resolve("empty"));
        assertThatThrownBy(() -> Report.main(new String[] {empty.toString(), page.toString()}))
                .hasMessageContaining(empty.toString())
                .hasMessageContaining("conditions.json");
    }

    @Test
    void moduleVersionIsReadFromEitherKindOfModule() {
        assertThat(Conditions.moduleVersion(
                        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04  Tue Sep 1 00:00:00 UTC 2026"))
                .isEqualTo(", kernel module 580.159.04");
        assertThat(Conditions.moduleVersion(
                        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build  (x)"))
                .isEqualTo(", kernel module 570.124.06");
        assertThat(Conditions.moduleVersion("something else 1.2.3")).isEmpty();
    }

    private static void writeNamed(Path folder, String name, String gpu, String benchmark, double score)
            throws Exception {
        Files.writeString(folder.resolve(name + ".json"), """
                [{"benchmark": "dev.rekindle.benchmarks.%s",
                  "params": {"source": "PINNED", "workers": "4", "chunkMebibytes": "16",
                             "settings": "STOCK", "cache": "WARM"},
                  "primaryMetric": {"score": %s, "scoreError": 1.0, "scoreUnit": "ms/op"},
                  "secondaryMetrics": {"copyNanoseconds": {"score": 3.0, "rawData": [[1000000, 2000000]]}}}]
                """.formatted(benchmark, score));
        var conditions = new Conditions(gpu, "CUDA 13.0", "4.2.1", "4.2.1", "6.18", 2, "25", "warm", 64, 64, "now");
        Files.writeString(folder.resolve(name + "-conditions.json"), new Gson().toJson(conditions));
    }

    private void write(Timeline timeline) throws Exception {
        Files.writeString(folder.resolve("timeline-" + timeline.settings() + ".json"), new Gson().toJson(timeline));
    }
}
