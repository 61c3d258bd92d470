// SPDX-License-Identifier: MIT
package dev.rekindle;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static org.assertj.core.api.Assertions.assertThat;

import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Paths whose names are no text of the locale: here of a byte that is none in UTF-8, as all beyond ASCII in the C locale. */
class NativePathTest {
    @TempDir
    private Path folder;

    @Test
    void bytesAreThoseOfTheFileSystem() throws Exception {
        NativeLibrary.load();
        Path path = inLatin1();
        byte[] expected = (folder + "/a b%/m\u00e4rz").getBytes(ISO_8859_1);
        assertThat(NativePath.bytes(path)).isEqualTo(expected);
        Files.createDirectories(path); // the URI of a folder is another one
        assertThat(NativePath.bytes(path)).isEqualTo(expected);
        try (NativeCall call = NativeCall.begin()) {
            assertThat(NativePath.of(call.path(path))).isEqualTo(path);
            assertThat(NativePath.of(call.path(folder))).isEqualTo(folder);
            assertThat(NativePath.of(call.path(Path.of("/")))).isEqualTo(Path.of("/"));
        }
    }

    @Test
    void imagesAreInTheFolderThatWasNamed() throws Exception {
        Path images = inLatin1();
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Files.createDirectories(images)));
            worker.awaitEnd();
            assertThat(images.resolve("inventory.img")).exists();
            rekindle.restore(RestoreRequest.of(images));
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }

    private Path inLatin1() {
        return Path.of(URI.create(folder.toUri() + "a%20b%25/m%E4rz"));
    }
}
