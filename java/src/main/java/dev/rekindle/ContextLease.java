// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.concurrent.atomic.AtomicIntegerFieldUpdater;

/**
 * A lease on a warm context. It may be passed between threads and closed by any of them, also after its pool was closed.
 */
public final class ContextLease implements AutoCloseable {
    /** A lease is the one object that acquiring allocates. */
    private static final AtomicIntegerFieldUpdater<ContextLease> RELEASED =
            AtomicIntegerFieldUpdater.newUpdater(ContextLease.class, "released");

    @SuppressWarnings("UnusedVariable") // read and written by RELEASED
    private volatile int released;

    private final WarmPool pool;
    private final long context;
    private final int device;
    private final int number;

    ContextLease(WarmPool pool, long context, int device, int number) {
        this.pool = pool;
        this.context = context;
        this.device = device;
        this.number = number;
    }

    /**
     * The device of the context.
     *
     * @return its number, from 0
     */
    public int device() {
        return device;
    }

    /**
     * The {@code CUcontext}, for calls of the CUDA driver in this JVM while the lease is open.
     *
     * @return its address; 0 where the pool is another process, which keeps its own contexts warm
     */
    public long context() {
        return context;
    }

    /** Gives the lease back. Closing twice does nothing. */
    @Override
    public void close() {
        if (RELEASED.compareAndSet(this, 0, 1)) {
            pool.release(context, device, number);
        }
    }
}
