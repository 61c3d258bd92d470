// SPDX-License-Identifier: MIT
package dev.rekindle;

/**
 * A lease on a warm context. It may be passed between threads and closed by any of them, also after its pool was closed.
 */
public interface ContextLease extends AutoCloseable {
    /**
     * The device of the context.
     *
     * @return its number, from 0
     */
    int device();

    /**
     * The {@code CUcontext}, for calls of the CUDA driver in this JVM while the lease is open.
     *
     * @return its address; 0 where the pool is another process, which keeps its own contexts warm
     * @throws IllegalStateException where the lease, or its pool, is closed: the context may be gone
     */
    long context();

    /** Gives the lease back. Closing twice does nothing. */
    @Override
    void close();
}
