// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The programs of README.md run, and README.md shows them as they are. */
class UsualProgramsTest {
    @TempDir
    private Path folder;

    /** The project that resolves what is installed (consumer/pom.xml), its dependencies and its program. */
    @Test
    void readmeShowsTheFirstProgram() throws Exception {
        Path project = Path.of("consumer/src/it/first-program");
        String readme = Files.readString(Path.of("README.md"));
        String dependencies = between(
                Files.readString(project.resolve("pom.xml")),
                "  <!-- begin: dependencies -->\n",
                "  <!-- end: dependencies -->\n");
        assertThat(readme).contains("```xml\n" + dependencies.stripTrailing().stripIndent() + "\n```\n");
        String program = between(
                Files.readString(project.resolve("src/main/java/first/Program.java")),
                "// begin: first-program\n",
                "// end: first-program\n");
        assertThat(readme).contains("<!-- snippet: first-program -->\n```java\n" + program + "```\n");
        String test = between(
                Files.readString(project.resolve("src/test/java/first/ProgramTest.java")),
                "// begin: first-test\n",
                "// end: first-test\n");
        assertThat(readme).contains("<!-- snippet: first-test -->\n```java\n" + test + "```\n");
    }

    private static String between(String text, String begin, String end) {
        assertThat(text).contains(begin, end);
        return text.substring(text.indexOf(begin) + begin.length(), text.indexOf(end));
    }

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
        assertThat(names).hasSize(6);
        assertThat(Pattern.compile("^```java$", Pattern.MULTILINE)
                        .matcher(readme)
                        .results())
                .hasSize(6 + 2);
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
                CheckpointResult snapshot =
                        UsualPrograms.watch(UsualPrograms.snapshotWhileItRuns(rekindle, worker.pid(), images));
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
