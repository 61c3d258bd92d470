// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;

/**
 * A warm pool: GPU contexts, pinned copy buffers and a driver handle that outlive restores. Either hosted in this JVM
 * ({@link Rekindle#openPool}) or a connection to {@code rekindled} ({@link Rekindle#connectPool}).
 *
 * <p><b>Threads.</b> All methods may be called from any threads at once.
 *
 * <p><b>Closing.</b> {@link #close} waits for calls under way; leases that are open become invalid, and closing them
 * afterwards does nothing. Calls after it throw {@link IllegalStateException}.
 */
public interface WarmPool extends AutoCloseable {
    /**
     * Says where the pool is.
     *
     * @return whether it is in this JVM
     */
    boolean isHosted();

    /**
     * Takes a lease on the warm context of a device: microseconds, where making a context takes a fifth of a second.
     *
     * @param device number of the device, from 0
     * @return the lease, to be closed
     * @throws RekindleException where there is no such device, or the pool has died
     * @throws IllegalStateException where this pool is closed
     */
    ContextLease acquire(int device);

    /**
     * Starts filling device memory from the GPU images in a folder. The next restore of it on this pool finds it done.
     * Returns at once.
     *
     * @param directory an image folder; a relative one is in the handle's {@code imagesRoot}, as a request's is
     * @return what is being filled, to be waited for by who wants to
     * @throws RekindleException where it holds no GPU image that can be read
     * @throws IllegalStateException where this pool is closed
     */
    Prefetch prefetch(Path directory);

    /**
     * Likewise, into device memory or into pinned memory of the host. Returns at once.
     *
     * @param directory an image folder; a relative one is in the handle's {@code imagesRoot}, as a request's is
     * @param tier which of them
     * @return what is being filled, to be waited for by who wants to
     * @throws RekindleException where it holds no GPU image that can be read, or the pool's {@code REKINDLE_PINNED_BUDGET} has
     *     no room for it
     * @throws IllegalStateException where this pool is closed
     */
    Prefetch prefetch(Path directory, Tier tier);

    /**
     * Drops what {@link #prefetch} holds for a folder.
     *
     * @param directory an image folder; a relative one is in the handle's {@code imagesRoot}, as a request's is
     * @throws RekindleException where nothing is held for it
     * @throws IllegalStateException where this pool is closed
     */
    void drop(Path directory);

    /**
     * What the pool has done and holds.
     *
     * @return its statistics
     * @throws RekindleException where the pool has died
     * @throws IllegalStateException where this pool is closed
     */
    PoolStatistics statistics();

    /**
     * What lies in the pool's device memory and pinned memory for restores, or is on its way there: of {@link #prefetch} and of restores under
     * way.
     *
     * @return the images of each folder, the oldest first
     * @throws RekindleException where the pool has died
     * @throws IllegalStateException where this pool is closed
     */
    List<ResidentImages> images();

    /**
     * What the pool has of each GPU. Asks the driver what is free, as {@link #statistics} does not.
     *
     * @return the GPUs in the order of their numbers; none as long as the pool has not started the driver
     * @throws RekindleException where the pool has died
     * @throws IllegalStateException where this pool is closed
     */
    List<PoolGpu> gpus();

    /**
     * Copies once from the host to a device and says how long it took. For benchmarks.
     *
     * @param measurement what to copy and how
     * @return how long it took
     * @throws RekindleException where it failed, a value is out of its range, or the pool is not hosted in this JVM
     * @throws IllegalStateException where this pool is closed
     */
    Duration measure(CopyMeasurement measurement);

    /** Closes the pool; a hosted one ends, after its runs. Closing twice does nothing. */
    @Override
    void close();
}
