// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The programs of README.md run, and README.md shows them as they are. */
class UsualProgramsTest {
    @TempDir
    private Path folder;

    @Test
    void readmeShowsThePrograms() throws Exception {
        String source = Files.readString(Path.of("src/test/java/dev/rekindle/UsualPrograms.java"));
        String readme = Files.readString(Path.of("README.md"));
        List<String> names = new ArrayList<>();
        var matcher = Pattern.compile("    // begin: ([\\w-]+)\n(.*?)    // end: \\1\n", Pattern.DOTALL)
                .matcher(source);
        while (matcher.find()) {
            names.add(matcher.group(1));
            assertThat(readme)
                    .contains("<!-- snippet: " + matcher.group(1) + " -->\n```java\n"
                            + matcher.group(2).stripTrailing().stripIndent() + "\n```\n");
        }
        assertThat(names).hasSize(5);
        assertThat(Pattern.compile("^```java$", Pattern.MULTILINE)
                        .matcher(readme)
                        .results())
                .hasSize(5);
    }

    @Test
    void programsRun() throws Exception {
        Path images = folder.resolve("images");
        try (Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            ProcessHandle process = ProcessHandle.of(worker.pid()).orElseThrow();
            long pid = UsualPrograms.checkpointAndRestore(TestMachine.rekindle(folder), process, images);
            assertThat(pid).isEqualTo(worker.pid());
            assertThat(worker.checksum()).isEqualTo(before);

            try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
                CheckpointResult snapshot = UsualPrograms.snapshotWhileItRuns(rekindle, worker.pid(), images)
                        .get(60, TimeUnit.SECONDS);
                assertThat(snapshot.statistics().succeeded()).isTrue();
                worker.advance();
                UsualPrograms.inspect(images);
                assertThat(UsualPrograms.explain(rekindle, folder.resolve("none")))
                        .contains("none");
            }

            worker.close();
            RestoredProcess restored = UsualPrograms.restoreFromWarmPool(TestMachine.rekindle(folder), images);
            assertThat(restored.statistics().poolWarm()).isTrue();
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }
}
