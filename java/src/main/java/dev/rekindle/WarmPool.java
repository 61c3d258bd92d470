// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import dev.rekindle.internal.ffi.rekindle_context_lease;
import dev.rekindle.internal.ffi.rekindle_copy_request;
import dev.rekindle.internal.ffi.rekindle_pool_statistics;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * A warm pool: GPU contexts, pinned copy buffers and a driver handle that outlive restores. Either hosted in this JVM
 * ({@link Rekindle#openPool}) or a connection to {@code rekindled} ({@link Rekindle#connectPool}).
 *
 * <p><b>Threads.</b> All methods may be called from any threads at once.
 *
 * <p><b>Closing.</b> {@link #close} waits for calls under way; leases that are open become invalid, and closing them
 * afterwards does nothing. Calls after it throw {@link IllegalStateException}.
 */
public final class WarmPool implements AutoCloseable {
    private final MemorySegment pool;
    private final boolean hosted;
    private final @Nullable Path imagesRoot;
    private final UseGate gate = new UseGate("this WarmPool is closed");

    private WarmPool(MemorySegment pool, boolean hosted, @Nullable Path imagesRoot) {
        this.pool = pool;
        this.hosted = hosted;
        this.imagesRoot = imagesRoot;
    }

    static WarmPool open(NativeEnvironment environment, boolean hosted, @Nullable Path imagesRoot) {
        try (NativeCall call = NativeCall.begin()) {
            MemorySegment result = call.allocate(ValueLayout.ADDRESS);
            MemorySegment settings = environment.write(call);
            int code = hosted
                    ? RekindleNative.rekindle_pool_open(settings, result, call.error())
                    : RekindleNative.rekindle_pool_connect(settings, result, call.error());
            check(code, call);
            return new WarmPool(result.get(ValueLayout.ADDRESS, 0), hosted, imagesRoot);
        }
    }

    /**
     * Says where the pool is.
     *
     * @return whether it is in this JVM
     */
    public boolean isHosted() {
        return hosted;
    }

    /**
     * Takes a lease on the warm context of a device: microseconds, where making a context takes a fifth of a second.
     *
     * @param device number of the device, from 0
     * @return the lease, to be closed
     * @throws RekindleException where there is no such device, or the pool has died
     * @throws IllegalStateException where this pool is closed
     */
    public ContextLease acquire(int device) {
        gate.enter();
        try (NativeCall call = NativeCall.begin()) {
            MemorySegment lease = call.lease();
            check(RekindleNative.rekindle_pool_acquire(pool, device, lease, call.error()), call);
            return new ContextLease(
                    this,
                    rekindle_context_lease.context(lease),
                    rekindle_context_lease.device(lease),
                    rekindle_context_lease.number(lease));
        } finally {
            gate.exit();
        }
    }

    void release(long context, int device, int number) {
        if (!gate.tryEnter()) {
            return;
        }
        try (NativeCall call = NativeCall.begin()) {
            MemorySegment lease = call.lease();
            rekindle_context_lease.context(lease, context);
            rekindle_context_lease.device(lease, device);
            rekindle_context_lease.number(lease, number);
            check(RekindleNative.rekindle_pool_release(pool, lease, call.error()), call);
        } finally {
            gate.exit();
        }
    }

    /**
     * Starts filling device memory from the GPU images in a folder. The next restore of it on this pool finds it done.
     * Returns at once.
     *
     * @param directory an image folder; a relative one is in the handle's {@code imagesRoot}, as a request's is
     * @throws RekindleException where it holds no GPU image that can be read
     * @throws IllegalStateException where this pool is closed
     */
    public void prefetch(Path directory) {
        Objects.requireNonNull(directory, "directory");
        gate.enter();
        try (NativeCall call = NativeCall.begin()) {
            check(RekindleNative.rekindle_pool_prefetch(pool, images(directory, call), call.error()), call);
        } finally {
            gate.exit();
        }
    }

    /**
     * Drops what {@link #prefetch} holds for a folder.
     *
     * @param directory an image folder; a relative one is in the handle's {@code imagesRoot}, as a request's is
     * @throws RekindleException where nothing is held for it
     * @throws IllegalStateException where this pool is closed
     */
    public void drop(Path directory) {
        Objects.requireNonNull(directory, "directory");
        gate.enter();
        try (NativeCall call = NativeCall.begin()) {
            check(RekindleNative.rekindle_pool_drop(pool, images(directory, call), call.error()), call);
        } finally {
            gate.exit();
        }
    }

    /**
     * What the pool has done and holds.
     *
     * @return its statistics
     * @throws RekindleException where the pool has died
     * @throws IllegalStateException where this pool is closed
     */
    public PoolStatistics statistics() {
        gate.enter();
        try (NativeCall call = NativeCall.begin()) {
            MemorySegment status = call.zeroed(rekindle_pool_statistics.layout());
            check(RekindleNative.rekindle_pool_status(pool, status, call.error()), call);
            return PoolStatistics.of(status);
        } finally {
            gate.exit();
        }
    }

    /**
     * Copies once from the host to a device and says how long it took. For benchmarks.
     *
     * @param measurement what to copy and how
     * @return how long it took
     * @throws RekindleException where it failed, a value is out of its range, or the pool is not hosted in this JVM
     * @throws IllegalStateException where this pool is closed
     */
    public Duration measure(CopyMeasurement measurement) {
        Objects.requireNonNull(measurement, "measurement");
        gate.enter();
        try (NativeCall call = NativeCall.begin()) {
            MemorySegment request = call.zeroed(rekindle_copy_request.layout());
            rekindle_copy_request.structure_size(request, (int) request.byteSize());
            rekindle_copy_request.device(request, measurement.device());
            rekindle_copy_request.source(request, measurement.source().code());
            rekindle_copy_request.workers(request, measurement.workers());
            rekindle_copy_request.chunk_bytes(request, measurement.chunkBytes());
            rekindle_copy_request.bytes(request, measurement.bytes());
            rekindle_copy_request.file(request, call.path(measurement.file().orElse(null)));
            MemorySegment nanoseconds = call.allocate(ValueLayout.JAVA_LONG);
            check(RekindleNative.rekindle_copy_measure(pool, request, nanoseconds, call.error()), call);
            return Duration.ofNanos(nanoseconds.get(ValueLayout.JAVA_LONG, 0));
        } finally {
            gate.exit();
        }
    }

    /** Closes the pool; a hosted one ends, after its runs. Closing twice does nothing. */
    @Override
    public void close() {
        if (gate.closeAndWait()) {
            RekindleNative.rekindle_pool_close(pool);
        }
    }

    private MemorySegment images(Path directory, NativeCall call) {
        return call.path(Rekindle.images(imagesRoot, directory));
    }

    private static void check(int code, NativeCall call) {
        if (code != RekindleNative.REKINDLE_OK()) {
            throw Failure.exception(Failure.Action.POOL, code, call.error());
        }
    }
}
