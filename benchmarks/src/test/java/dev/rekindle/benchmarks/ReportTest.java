// SPDX-License-Identifier: MIT
package dev.rekindle.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.Gson;
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
                  "primaryMetric": {"score": 5000.0, "scoreError": "NaN", "scoreUnit": "ms/op"},
                  "secondaryMetrics": {}},
                 {"benchmark": "dev.rekindle.benchmarks.RestoreBenchmark.restore",
                  "params": {"settings": "REKINDLE_WARM_POOL", "cache": "WARM"},
                  "primaryMetric": {"score": 500.0, "scoreError": 7.5, "scoreUnit": "ms/op"},
                  "secondaryMetrics": {}},
                 {"benchmark": "dev.rekindle.benchmarks.CopyEngineBenchmark.copy",
                  "params": {"source": "PINNED", "workers": "1", "chunkMebibytes": "16"},
                  "primaryMetric": {"score": 50.0, "scoreError": 1.0, "scoreUnit": "ms/op"},
                  "secondaryMetrics": {"copyNanoseconds": {"score": 3.0, "rawData": [[1000000, 2000000]]}}},
                 {"benchmark": "dev.rekindle.benchmarks.FfmCallBenchmark.emptyCall",
                  "primaryMetric": {"score": 6.0, "scoreError": 0.1, "scoreUnit": "ns/op"},
                  "secondaryMetrics": {}}
                ]
                """;
        Files.writeString(folder.resolve("results.json"), results);
        new Conditions("SIMULATED (<GPU>)", "CUDA 13.0", "4.2.1", "4.2", "6.18", 2, "25", "as said", 8192, 512, "now")
                .write(folder);
        write(new Timeline("STOCK", "WARM", 5000, List.of(new Timeline.Bar("CRIU", 0, 3600, 0))));
        write(new Timeline("REKINDLE_WARM_POOL", "WARM", 500, List.of(new Timeline.Bar("prefetch", 10, 400, 1 << 30))));

        Path page = folder.resolve("page.html");
        Report.main(new String[] {folder.toString(), page.toString()});

        String html = Files.readString(page);
        assertThat(html)
                .contains("SIMULATED (&lt;GPU&gt;)", "CUDA 13.0", "6.18")
                .contains("stock, warm cache: 5000 ms", "rekindle warm pool, warm cache: 500 ms", "prefetch")
                .contains("RestoreBenchmark.restore", "5000.000")
                .doesNotContain("src=\"http", "href=");
        assertThat(html.split("data:image/png;base64,", -1)).hasSize(4);
    }

    private void write(Timeline timeline) throws Exception {
        Files.writeString(folder.resolve("timeline-" + timeline.settings() + ".json"), new Gson().toJson(timeline));
    }
}
