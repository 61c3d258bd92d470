// SPDX-License-Identifier: MIT
package dev.rekindle.benchmarks;

import dev.rekindle.CheckpointRequest;
import dev.rekindle.Rekindle;
import dev.rekindle.RestoreRequest;
import dev.rekindle.RestoredProcess;
import dev.rekindle.WarmPool;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * A restore of one process from a disk, from the call until the process runs: stock CRIU with its own plugin, Rekindle
 * with a private pool and with a warm one. After each restore the contents are compared.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.SingleShotTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 1)
@Measurement(iterations = 5)
@Fork(1)
public class RestoreBenchmark {
    /** With which parts. */
    public enum Settings {
        /** Unpatched CRIU and its own plugin. */
        STOCK,
        /** Rekindle, with a pool process that this restore starts. */
        REKINDLE_PRIVATE_POOL,
        /** Rekindle, with a pool that runs. */
        REKINDLE_WARM_POOL
    }

    /** Where the image files are before a restore. */
    public enum Cache {
        /** In the page cache. */
        WARM,
        /**
         * On the disk alone. Only they are: CRIU, the driver's libraries and the program stay in the page cache, and what
         * virtual machines and disks keep for themselves is not ours to drop.
         */
        COLD
    }

    /** With which parts. */
    @Param
    public Settings settings = Settings.STOCK;

    /** Where the image files are before a restore. */
    @Param
    public Cache cache = Cache.WARM;

    private Path folder = Machine.DISK;
    private @Nullable Rekindle rekindle;
    private @Nullable WarmPool pool;
    private @Nullable GpuProcess process;
    private @Nullable RestoredProcess restored;
    private String checksum = "";

    /**
     * Starts a process and dumps it.
     *
     * @throws IOException where it cannot be started
     */
    @Setup(Level.Trial)
    public void dump() throws IOException {
        folder = Machine.newFolder(Machine.DISK);
        Rekindle handle = (settings == Settings.STOCK ? Machine.stock(folder) : Machine.rekindle(folder)).build();
        rekindle = handle;
        if (settings == Settings.REKINDLE_WARM_POOL) {
            pool = handle.openPool();
        }
        GpuProcess started = GpuProcess.start(folder, settings != Settings.STOCK, Machine.RESTORE_MIB);
        process = started;
        checksum = started.ask("checksum");
        handle.checkpoint(CheckpointRequest.of(started.pid(), folder.resolve("images")));
        started.awaitEnd();
    }

    /**
     * Brings the image files into the state that is measured.
     *
     * @throws IOException where a file cannot be read
     */
    @Setup(Level.Iteration)
    public void prepareCache() throws IOException {
        try (Stream<Path> files = Files.walk(folder.resolve("images"))) {
            for (Path file : (Iterable<Path>) files.filter(Files::isRegularFile)::iterator) {
                FileCache.drop(file);
                if (cache == Cache.WARM) {
                    FileCache.read(file);
                }
            }
        }
    }

    /**
     * The restore.
     *
     * @return the process
     */
    @Benchmark
    public RestoredProcess restore() {
        RestoredProcess process = handle().restore(RestoreRequest.of(folder.resolve("images")));
        restored = process;
        return process;
    }

    /**
     * Compares the contents, keeps the phases and ends the process, whose images serve again.
     *
     * @throws IOException where the process does not answer
     */
    @TearDown(Level.Iteration)
    public void checkAndEnd() throws IOException {
        GpuProcess worker = process;
        RestoredProcess result = restored;
        if (worker == null || result == null) {
            throw new IllegalStateException("nothing was restored");
        }
        worker.ask("advance");
        String now = worker.ask("checksum");
        if (!now.equals(checksum)) {
            throw new IllegalStateException("the contents have changed: " + checksum + " before, " + now + " after");
        }
        Timeline.of(settings.name(), cache.name(), result.statistics()).write();
        worker.end();
    }

    /**
     * Closes everything and removes the images.
     *
     * @throws IOException where they cannot be removed
     */
    @TearDown(Level.Trial)
    public void close() throws IOException {
        WarmPool open = pool;
        if (open != null) {
            open.close();
        }
        handle().close();
        FileCache.deleteTree(folder);
    }

    private Rekindle handle() {
        Rekindle handle = rekindle;
        if (handle == null) {
            throw new IllegalStateException("not set up");
        }
        return handle;
    }
}
