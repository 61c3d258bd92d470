// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import dev.rekindle.internal.ffi.rekindle_context_lease;
import dev.rekindle.internal.ffi.rekindle_copy_request;
import dev.rekindle.internal.ffi.rekindle_pool_gpu;
import dev.rekindle.internal.ffi.rekindle_pool_statistics;
import dev.rekindle.internal.ffi.rekindle_resident_images;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.function.Function;

/** A pool of the native library, hosted or connected to. */
final class NativePool implements WarmPool {
    /** Of a list, before it is known how long it is. */
    private static final int USUAL_ROOM = 16;

    private final MemorySegment pool;
    private final boolean hosted;
    private final ImageRoot root;
    private final UseGate gate = new UseGate("this WarmPool is closed");

    private NativePool(MemorySegment pool, boolean hosted, ImageRoot root) {
        this.pool = pool;
        this.hosted = hosted;
        this.root = root;
    }

    static WarmPool open(NativeEnvironment environment, boolean hosted, ImageRoot root) {
        try (NativeCall call = NativeCall.begin()) {
            MemorySegment result = call.allocate(ValueLayout.ADDRESS);
            MemorySegment settings = environment.write(call);
            int code = hosted
                    ? RekindleNative.rekindle_pool_open(settings, result, call.error())
                    : RekindleNative.rekindle_pool_connect(settings, result, call.error());
            check(code, call);
            return new NativePool(result.get(ValueLayout.ADDRESS, 0), hosted, root);
        }
    }

    @Override
    public boolean isHosted() {
        return hosted;
    }

    @Override
    public ContextLease acquire(int device) {
        gate.enter();
        try (NativeCall call = NativeCall.begin()) {
            MemorySegment lease = call.lease();
            check(RekindleNative.rekindle_pool_acquire(pool, device, lease, call.error()), call);
            return new NativeLease(
                    this,
                    rekindle_context_lease.context(lease),
                    rekindle_context_lease.device(lease),
                    rekindle_context_lease.number(lease));
        } finally {
            gate.exit();
        }
    }

    boolean isClosed() {
        return gate.isClosed();
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

    @Override
    public Prefetch prefetch(Path directory) {
        return prefetch(directory, Tier.DEVICE);
    }

    @Override
    public Prefetch prefetch(Path directory, Tier tier) {
        Objects.requireNonNull(directory, "directory");
        int code = Objects.requireNonNull(tier, "tier").code();
        gate.enter();
        try (NativeCall call = NativeCall.begin()) {
            check(RekindleNative.rekindle_pool_prefetch_to(pool, images(directory, call), code, call.error()), call);
            return new NativePrefetch(this, directory);
        } finally {
            gate.exit();
        }
    }

    long prefetched(Path directory) {
        gate.enter();
        try (NativeCall call = NativeCall.begin()) {
            MemorySegment bytes = call.allocate(ValueLayout.JAVA_LONG);
            check(RekindleNative.rekindle_pool_prefetched(pool, images(directory, call), bytes, call.error()), call);
            return bytes.get(ValueLayout.JAVA_LONG, 0);
        } finally {
            gate.exit();
        }
    }

    @Override
    public void drop(Path directory) {
        Objects.requireNonNull(directory, "directory");
        gate.enter();
        try (NativeCall call = NativeCall.begin()) {
            check(RekindleNative.rekindle_pool_drop(pool, images(directory, call), call.error()), call);
        } finally {
            gate.exit();
        }
    }

    @Override
    public PoolStatistics statistics() {
        gate.enter();
        try (NativeCall call = NativeCall.begin()) {
            MemorySegment status = call.zeroed(rekindle_pool_statistics.layout());
            check(RekindleNative.rekindle_pool_status(pool, status, call.error()), call);
            return PoolStatus.of(status);
        } finally {
            gate.exit();
        }
    }

    @Override
    public List<ResidentImages> images() {
        return list(RekindleNative::rekindle_pool_images, rekindle_resident_images.layout(), ResidentImages::of);
    }

    @Override
    public List<PoolGpu> gpus() {
        return list(RekindleNative::rekindle_pool_gpus, rekindle_pool_gpu.layout(), PoolGpu::of);
    }

    /** A function that fills as many entries as there is room for, and says how many there are. */
    private interface Listing {
        int into(MemorySegment pool, MemorySegment entries, int capacity, MemorySegment count, MemorySegment error);
    }

    private <T> List<T> list(Listing listing, MemoryLayout layout, Function<MemorySegment, T> entry) {
        gate.enter();
        try {
            int room = USUAL_ROOM;
            while (true) {
                try (NativeCall call = NativeCall.begin()) {
                    MemorySegment entries = call.array(layout, room);
                    MemorySegment count = call.allocate(ValueLayout.JAVA_INT);
                    check(listing.into(pool, entries, room, count, call.error()), call);
                    int there = count.get(ValueLayout.JAVA_INT, 0);
                    if (there <= room) {
                        return entries.asSlice(0, there * layout.byteSize())
                                .elements(layout)
                                .map(entry)
                                .toList();
                    }
                    room = there + USUAL_ROOM;
                }
            }
        } finally {
            gate.exit();
        }
    }

    @Override
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

    @Override
    public void close() {
        if (gate.closeAndWait()) {
            RekindleNative.rekindle_pool_close(pool);
        }
    }

    private MemorySegment images(Path directory, NativeCall call) {
        return call.path(root.resolve(directory));
    }

    private static void check(int code, NativeCall call) {
        if (code != RekindleNative.REKINDLE_OK()) {
            throw Failure.exception(Failure.Action.POOL, code, call.error());
        }
    }
}
