// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.concurrent.atomic.AtomicIntegerFieldUpdater;

/** A lease on a context of a pool. */
final class NativeLease implements ContextLease {
    /** A lease is the one object that acquiring allocates. */
    private static final AtomicIntegerFieldUpdater<NativeLease> RELEASED =
            AtomicIntegerFieldUpdater.newUpdater(NativeLease.class, "released");

    @SuppressWarnings("UnusedVariable") // read and written by RELEASED
    private volatile int released;

    private final NativePool pool;
    private final long context;
    private final int device;
    private final int number;

    NativeLease(NativePool pool, long context, int device, int number) {
        this.pool = pool;
        this.context = context;
        this.device = device;
        this.number = number;
    }

    @Override
    public int device() {
        return device;
    }

    @Override
    public long context() {
        if (released != 0 || pool.isClosed()) {
            throw new IllegalStateException("this ContextLease is closed: its context may be gone");
        }
        return context;
    }

    @Override
    public void close() {
        if (RELEASED.compareAndSet(this, 0, 1)) {
            pool.release(context, device, number);
        }
    }
}
