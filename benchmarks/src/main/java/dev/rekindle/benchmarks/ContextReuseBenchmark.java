// SPDX-License-Identifier: MIT
package dev.rekindle.benchmarks;

import dev.rekindle.ContextLease;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/** A context made from nothing, against a lease on one that a warm pool holds. */
@OutputTimeUnit(TimeUnit.MICROSECONDS)
public class ContextReuseBenchmark {
    /** A process that has not spoken to the driver yet. */
    @State(Scope.Benchmark)
    public static class FreshProcess {
        MethodHandle initialise = never();
        MethodHandle retain = never();
        MethodHandle release = never();

        /** Opens the driver library, which is not what is measured. */
        @Setup(Level.Trial)
        public void open() {
            Linker linker = Linker.nativeLinker();
            SymbolLookup driver = SymbolLookup.libraryLookup(Machine.DRIVER, Arena.global());
            initialise = linker.downcallHandle(
                    driver.findOrThrow("cuInit"), FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.JAVA_INT));
            retain = linker.downcallHandle(
                    driver.findOrThrow("cuDevicePrimaryCtxRetain"),
                    FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.ADDRESS, ValueLayout.JAVA_INT));
            release = linker.downcallHandle(
                    driver.findOrThrow("cuDevicePrimaryCtxRelease_v2"),
                    FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.JAVA_INT));
        }

        private static MethodHandle never() {
            return MethodHandles.constant(int.class, -1);
        }
    }

    /** A process that has started the driver, and has no context. */
    @State(Scope.Benchmark)
    public static class StartedProcess extends FreshProcess {
        /**
         * Starts the driver, which can be done once only.
         *
         * @throws Throwable never
         */
        @Setup(Level.Trial)
        public void start() throws Throwable {
            check((int) initialise.invokeExact(0));
        }
    }

    /**
     * cuInit and cuDevicePrimaryCtxRetain: all that a process needs that has not spoken to the driver. That can be measured once
     * in a process, so each of thirty processes is a sample. What the driver reads of the disk is in the page cache, from the
     * second one on.
     *
     * @param process a process that has done neither
     * @return the context
     * @throws Throwable never
     */
    @Benchmark
    @BenchmarkMode(Mode.SingleShotTime)
    @Warmup(iterations = 0)
    @Measurement(iterations = 1)
    @Fork(30)
    public long coldContext(FreshProcess process) throws Throwable {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment context = arena.allocate(ValueLayout.ADDRESS);
            check((int) process.initialise.invokeExact(0));
            check((int) process.retain.invokeExact(context, 0));
            return context.get(ValueLayout.ADDRESS, 0).address();
        }
    }

    /**
     * A new context and its end, sampled in two processes: what of a cold context can be done again in one. It leaves out cuInit,
     * and adds the end of the context.
     *
     * @param process a process that has no context
     * @return the context that was
     * @throws Throwable never
     */
    @Benchmark
    @BenchmarkMode(Mode.SampleTime)
    @Warmup(iterations = 1, time = 2)
    @Measurement(iterations = 5, time = 4)
    @Fork(2)
    public long newContext(StartedProcess process) throws Throwable {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment context = arena.allocate(ValueLayout.ADDRESS);
            check((int) process.retain.invokeExact(context, 0));
            check((int) process.release.invokeExact(0));
            return context.get(ValueLayout.ADDRESS, 0).address();
        }
    }

    /**
     * A lease on a warm context, and its return.
     *
     * @param state has the pool
     * @return the context
     */
    @Benchmark
    @BenchmarkMode(Mode.AverageTime)
    @Warmup(iterations = 3, time = 1)
    @Measurement(iterations = 5, time = 1)
    @Fork(2)
    public long warmLease(WarmPoolState state) {
        try (ContextLease lease = state.pool.acquire(0)) {
            return lease.context();
        }
    }

    private static void check(int result) {
        if (result != 0) {
            throw new IllegalStateException("the driver returned " + result);
        }
    }
}
