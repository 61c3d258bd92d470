// SPDX-License-Identifier: MIT
package dev.rekindle.benchmarks;

import dev.rekindle.Rekindle;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Where the native parts are and how much to measure, from the environment, so that forked JVMs have the same.
 */
final class Machine {
    /** The native build: bin, lib, lib/criu. */
    static final Path NATIVE = path("BENCHMARK_NATIVE", "native/build/release").toAbsolutePath();
    /** The CUDA driver library. */
    static final Path DRIVER = path("BENCHMARK_DRIVER", NATIVE + "/lib/simcuda/libcuda.so.1");
    /** CRIU for Rekindle. */
    static final Path CRIU = path("BENCHMARK_CRIU", "criu");
    /** CRIU without patches, for the stock side. */
    static final Path STOCK_CRIU = path("BENCHMARK_STOCK_CRIU", CRIU.toString());
    /** The folder of CRIU's own CUDA plugin. */
    static final Path STOCK_PLUGINS = path(
            "BENCHMARK_STOCK_PLUGINS",
            STOCK_CRIU.resolveSibling("../plugins/cuda").toString());
    /** Images, and files to copy. */
    static final Path FOLDER = path("BENCHMARK_FOLDER", "/dev/shm");
    /** A folder on a disk, for reads that do not come from memory. */
    static final Path DISK = path("BENCHMARK_DISK", "/var/tmp");
    /** Where results go. */
    static final Path RESULTS = path("BENCHMARK_RESULTS", "benchmarks/results/jmh");
    /** Device memory of the process that is restored. */
    static final int RESTORE_MIB = number("BENCHMARK_RESTORE_MIB", 512);
    /** How much the copy engine copies. */
    static final long COPY_BYTES = (long) number("BENCHMARK_COPY_MIB", 512) << 20;

    private Machine() {}

    private static Path path(String name, String fallback) {
        return Path.of(text(name, fallback));
    }

    private static int number(String name, int fallback) {
        return Integer.parseInt(text(name, String.valueOf(fallback)));
    }

    private static String text(String name, String fallback) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? fallback : value;
    }

    static boolean simulated() {
        return DRIVER.toString().contains("simcuda");
    }

    /** A new folder, for one run. */
    static Path newFolder(Path parent) {
        try {
            return Files.createTempDirectory(parent, "rekindle-benchmark-");
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    static Rekindle.Builder rekindle(Path folder) {
        return Rekindle.builder()
                .criu(CRIU)
                .cudaDriver(DRIVER)
                .pluginDirectory(NATIVE.resolve("lib/criu"))
                .poolSocket(folder.resolve("pool.sock"));
    }

    /** CRIU, its own plugin and nothing of ours. */
    static Rekindle.Builder stock(Path folder) {
        return Rekindle.builder()
                .criu(STOCK_CRIU)
                .cudaDriver(DRIVER)
                .pluginDirectory(STOCK_PLUGINS)
                .poolSocket(folder.resolve("pool.sock"))
                .restoreThreads(-1);
    }
}
