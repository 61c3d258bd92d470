// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.rekindle.ErrorCode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class WholeFileTest {
    @TempDir
    private Path folder;

    /** In the languages of the kernel's own word and of two locales. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "No space left on device",
                "Auf dem Gerät ist kein Speicherplatz mehr verfügbar",
                "Aucun espace disponible sur le périphérique"
            })
    void aFullDiskIsKnownInAnyLanguage(String full) {
        assertThat(WholeFile.code(new IOException(full), full)).isEqualTo(ErrorCode.NO_SPACE);
        assertThat(WholeFile.code(new FileSystemException("/x", null, full), full))
                .isEqualTo(ErrorCode.NO_SPACE);
        assertThat(WholeFile.code(new FileSystemException("/x", null, "Read-only file system"), full))
                .isEqualTo(ErrorCode.PERMISSION);
        assertThat(WholeFile.code(new IOException("Input/output error"), full)).isEqualTo(ErrorCode.INTERNAL);
        assertThat(WholeFile.code(new IOException(), full)).isEqualTo(ErrorCode.INTERNAL);
        assertThat(WholeFile.code(new AccessDeniedException("/x", null, full), full))
                .isEqualTo(ErrorCode.PERMISSION);
    }

    @Test
    void whatAFullDiskIsCalledIsAsked() {
        assertThat(WholeFile.full()).isNotEmpty();
        assertThatThrownBy(() -> WholeFile.write(Path.of("/dev/full"), "text"))
                .isInstanceOfSatisfying(
                        CommandException.class,
                        failure -> assertThat(failure.code()).isEqualTo(ErrorCode.NO_SPACE))
                .hasMessage("/dev/full could not be written: " + WholeFile.full());
        assertThatThrownBy(() -> WholeFile.write(folder, "text"))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage(folder + " is a folder: name a file");
    }

    @Test
    void aLinkStaysOneWhateverItNames() throws Exception {
        Path link = Files.createSymbolicLink(folder.resolve("link"), Path.of("behind"));

        WholeFile.write(link, "first");
        WholeFile.write(link, "second");

        assertThat(link).isSymbolicLink();
        assertThat(folder.resolve("behind")).hasContent("second").isRegularFile();
    }

    @Test
    void aFileOfAnotherUserStaysHis() throws Exception {
        Path file = Files.writeString(folder.resolve("his"), "first");
        Files.setAttribute(file, "unix:uid", 65534);

        WholeFile.write(file, "second");

        assertThat(file).hasContent("second");
        assertThat(Files.getAttribute(file, "unix:uid")).isEqualTo(65534);
    }

    /** Before what takes long. */
    @Test
    void whatCannotBeMadeIsKnownBefore() throws Exception {
        Path file = Files.writeString(folder.resolve("file"), "first");

        WholeFile.check(file);
        WholeFile.check(folder.resolve("other"));

        try (Stream<Path> files = Files.list(folder)) {
            assertThat(files).containsExactly(file);
        }
        assertThat(file).hasContent("first");
        assertThatThrownBy(() -> WholeFile.check(Path.of("/proc/x")))
                .isInstanceOfSatisfying(
                        CommandException.class,
                        failure -> assertThat(failure.code()).isEqualTo(ErrorCode.PERMISSION));
    }

    @Test
    void fileThatCannotBeWrittenAsAWholeIsNotThere() {
        Path file = folder.resolve("file");
        assertThatThrownBy(() -> WholeFile.write(file, "€", StandardCharsets.ISO_8859_1))
                .hasMessageContaining(file + " could not be written");
        assertThat(folder).isEmptyDirectory();
    }
}
