// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.protobuf.CodedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Programs that hang, processes that nobody collects, and images that are cut. */
class MachineTest {
    @TempDir
    private Path folder;

    /** Also where it has left somebody behind who holds its output. */
    @Test
    void programThatHangsIsGivenUp() {
        assertThat(Machine.output("sh", "-c", "sleep 1000 & echo $!"))
                .hasValueSatisfying(text -> Cli.kill(Long.parseLong(text.strip())));
        assertThat(Machine.output(Duration.ofMillis(200), "sh", "-c", "echo text; exec sleep 1000"))
                .isEmpty();
        assertThat(Machine.output("/nonexistent/program")).isEmpty();
    }

    /** Also with what it starts at that moment, which is nobody's child when it has ended. */
    @Test
    void programIsEndedWithAllThatItStarts() throws Exception {
        Process starter = new ProcessBuilder(
                        "setsid", "sh", "-c", "i=0; while [ $i -lt 2000 ]; do sleep 1000 & i=$((i + 1)); done; wait")
                .start();
        try {
            Cli.await("the first", () -> starter.children().findAny().isPresent());
            Namespaces.end(starter);
            assertThat(ProcessStat.ofSession(starter.pid())).isEmpty();
        } finally {
            ProcessStat.ofSession(starter.pid()).forEach(ProcessHandle::destroyForcibly);
        }
    }

    @Test
    void processThatNobodyCollectsHasEnded() throws Exception {
        Process parent = new ProcessBuilder("sh", "-c", "sleep 0 & exec sleep 1000").start();
        try {
            Cli.await("the child", () -> parent.children().findAny().isPresent());
            long child = parent.children().findAny().orElseThrow().pid();
            assertThat(ProcessStat.awaitEnd(child, Duration.ofSeconds(60))).isTrue();
            assertThat(ProcessStat.awaitEnd(parent.pid(), Duration.ofMillis(50)))
                    .isFalse();
        } finally {
            parent.destroyForcibly().waitFor();
        }
        assertThat(ProcessStat.awaitEnd(parent.pid(), Duration.ofSeconds(60))).isTrue();
    }

    @Test
    void cutPagesImageIsNamed() throws IOException {
        Files.write(folder.resolve("pages-1.img"), new byte[10]);
        var memory = new CriuImages.Memory(List.of(), List.of(new CriuImages.Pages(4096, 1, 0)), 1, 4096, 4196);
        assertThatThrownBy(() -> CriuImages.command(folder, memory))
                .isInstanceOf(IOException.class)
                .hasMessage(folder.resolve("pages-1.img") + " is cut or damaged: take the checkpoint again");
    }

    @Test
    void manifestThatNamesAnotherFolderIsDamaged() throws IOException {
        var file = new ByteArrayOutputStream();
        CodedOutputStream output = CodedOutputStream.newInstance(file);
        output.writeString(1, "../passwd");
        output.flush();
        var manifest = new ByteArrayOutputStream();
        manifest.write(new byte[24]);
        output = CodedOutputStream.newInstance(manifest);
        output.writeByteArray(5, file.toByteArray());
        output.flush();
        Path image = Files.write(folder.resolve("rekindle-checkpoint.img"), manifest.toByteArray());
        assertThatThrownBy(() -> CriuImages.manifest(folder)).hasMessageContaining("damaged");
        Files.write(image, new byte[10]);
        assertThatThrownBy(() -> CriuImages.manifest(folder)).hasMessageContaining("damaged");
    }
}
