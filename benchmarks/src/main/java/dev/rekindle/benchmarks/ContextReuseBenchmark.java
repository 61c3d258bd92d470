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
        private MethodHandle initialise = never();
        private MethodHandle retain = never();

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
        }

        private static MethodHandle never() {
            return MethodHandles.constant(int.class, -1);
        }
    }

    /**
     * cuInit and cuDevicePrimaryCtxRetain, once in each of ten processes.
     *
     * @param process a process that has done neither
     * @return the context
     * @throws Throwable never
     */
    @Benchmark
    @BenchmarkMode(Mode.SingleShotTime)
    @Warmup(iterations = 0)
    @Measurement(iterations = 1)
    @Fork(10)
    public long coldContext(FreshProcess process) throws Throwable {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment context = arena.allocate(ValueLayout.ADDRESS);
            check((int) process.initialise.invokeExact(0));
            check((int) process.retain.invokeExact(context, 0));
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
