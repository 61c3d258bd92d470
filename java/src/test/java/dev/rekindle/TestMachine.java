// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;

/** Where the native parts, CRIU and the simulated driver are. */
final class TestMachine {
    static final Path NATIVE = Path.of(System.getProperty("rekindle.native.build"));
    static final Path LIBRARY_FOLDER = NATIVE.resolve("lib");
    static final Path SIMULATED_DRIVER = LIBRARY_FOLDER.resolve("simcuda/libcuda.so.1");
    static final Path AGENT = LIBRARY_FOLDER.resolve("librekindle-preload.so");
    private static final Path SOURCE = Path.of(System.getProperty("rekindle.native.source"));

    private TestMachine() {}

    private static final class Criu {
        static final Path PROGRAM = provide();

        /** The script prints the path of a program that it found, or built before, as its last line. */
        private static Path provide() {
            try {
                Process process = new ProcessBuilder(
                                SOURCE.resolve("criu/provide-criu.sh").toString())
                        .redirectError(ProcessBuilder.Redirect.INHERIT)
                        .start();
                String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
                if (process.waitFor() != 0) {
                    throw new IllegalStateException("provide-criu.sh found no usable criu");
                }
                return Path.of(output.strip().lines().toList().getLast());
            } catch (IOException failure) {
                throw new UncheckedIOException(failure);
            } catch (InterruptedException interrupt) {
                throw new IllegalStateException(interrupt);
            }
        }
    }

    static Path criu() {
        return Criu.PROGRAM;
    }

    /** The file with the device memory of a process in a folder of images that has one of it. */
    static Path gpuPages(Path images, long pid) throws IOException {
        try (DirectoryStream<Path> files = Files.newDirectoryStream(images, "rekindle-pages-" + pid + "-*.img")) {
            return files.iterator().next();
        }
    }

    /** A handle whose images and pool socket are in a folder, on the simulated driver. */
    static Rekindle.Builder rekindle(Path folder) {
        return Rekindle.builder()
                .criu(criu())
                .cudaDriver(SIMULATED_DRIVER)
                .poolSocket(folder.resolve("pool.sock"))
                .imagesRoot(folder);
    }
}
