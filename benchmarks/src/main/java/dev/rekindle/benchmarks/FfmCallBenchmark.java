// SPDX-License-Identifier: MIT
package dev.rekindle.benchmarks;

import dev.rekindle.ContextLease;
import dev.rekindle.Rekindle;
import dev.rekindle.internal.ffi.RekindleNative;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/**
 * What the binding itself costs: an empty downcall made by hand, the same through the generated classes, and a whole
 * lease through the library.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(2)
public class FfmCallBenchmark {
    /** An empty downcall is one to a function that returns a constant. */
    private static final MethodHandle EMPTY = emptyDowncall();

    /**
     * The floor: a downcall that does nothing.
     *
     * @return what it returned
     * @throws Throwable never
     */
    @Benchmark
    public int emptyCall() throws Throwable {
        return (int) EMPTY.invokeExact();
    }

    /**
     * The same function through the generated classes.
     *
     * @return what it returned
     */
    @Benchmark
    public int generatedBinding() {
        return RekindleNative.rekindle_version_number();
    }

    /**
     * A lease and its return: two downcalls with structures.
     *
     * @param state has the pool
     * @return the device
     */
    @Benchmark
    public int leaseThroughTheLibrary(WarmPoolState state) {
        try (ContextLease lease = state.pool.acquire(0)) {
            return lease.device();
        }
    }

    private static MethodHandle emptyDowncall() {
        Rekindle.nativeVersion(); // loads the library
        return Linker.nativeLinker()
                .downcallHandle(
                        RekindleNative.rekindle_version_number$address(), FunctionDescriptor.of(ValueLayout.JAVA_INT));
    }
}
