// SPDX-License-Identifier: MIT
package dev.rekindle.benchmarks;

import dev.rekindle.CopyMeasurement;
import dev.rekindle.CopyMeasurement.Source;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Host to device. {@link #copy} is the copy engine. {@link #pinned} is one stream from pinned memory without the engine:
 * the machine's limit, beside which the others are to be seen. No number of workers applies to it.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.SingleShotTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 2)
@Measurement(iterations = 5)
@Fork(1)
public class CopyEngineBenchmark {
    /** Size of a chunk. */
    @Param({"4", "16", "64"})
    public int chunkMebibytes;

    /** What only the engine needs, so that the limit is not measured again for each of it. */
    @State(Scope.Benchmark)
    public static class Engine {
        /** Where the data comes from. */
        @Param({"PAGE_CACHE", "DISK"})
        public Source source = Source.PAGE_CACHE;

        /** Copy workers. */
        @Param({"1", "2", "4", "8", "16"})
        public int workers;

        private final Path file = Machine.newFolder(Machine.DISK).resolve("data");

        /** Writes the file to copy. */
        public Engine() {
            FileCache.writeRandom(file, Machine.COPY_BYTES);
        }

        /**
         * Removes the file.
         *
         * @throws IOException where it cannot be removed
         */
        @TearDown(Level.Trial)
        public void close() throws IOException {
            FileCache.deleteTree(file.resolveSibling(""));
        }
    }

    /** What the native library says. */
    @State(Scope.Thread)
    @AuxCounters(AuxCounters.Type.EVENTS)
    public static class Measured {
        /** How long the copy itself took, without allocating memory and dropping caches. */
        public long copyNanoseconds;
    }

    /**
     * One copy through the engine.
     *
     * @param state has the pool
     * @param engine says how to copy
     * @param measured takes how long the copy itself took
     */
    @Benchmark
    public void copy(WarmPoolState state, Engine engine, Measured measured) {
        measured.copyNanoseconds = measure(state, engine.source, engine.workers, Optional.of(engine.file));
    }

    /**
     * One copy from pinned memory.
     *
     * @param state has the pool
     * @param measured takes how long the copy itself took
     */
    @Benchmark
    public void pinned(WarmPoolState state, Measured measured) {
        measured.copyNanoseconds = measure(state, Source.PINNED, 1, Optional.empty());
    }

    private long measure(WarmPoolState state, Source source, int workers, Optional<Path> file) {
        return state.pool
                .measure(new CopyMeasurement(0, source, workers, (long) chunkMebibytes << 20, Machine.COPY_BYTES, file))
                .toNanos();
    }
}
