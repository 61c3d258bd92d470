// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.rekindle_pool_statistics;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.OptionalInt;

/** Statistics of a pool as native code has told them. */
record PoolStatus(
        long pid,
        Duration uptime,
        long restores,
        long checkpoints,
        long imagesResident,
        long imagesPinned,
        long imagesRead,
        long bytesToDevice,
        long bytesFromDevice,
        long ringBytes,
        long deviceBytesHeld,
        long pinnedBytesHeld,
        long movedToPinned,
        long givenUp,
        long expired,
        long bytesExpired,
        int workers,
        int contexts,
        int leases,
        int runs,
        boolean simulated,
        OptionalInt driverVersion)
        implements PoolStatistics {
    static PoolStatus of(MemorySegment status) {
        return new PoolStatus(
                rekindle_pool_statistics.pid(status),
                // System.nanoTime() reads the clock that the pool's start was read from.
                Duration.ofNanos(System.nanoTime() - rekindle_pool_statistics.started(status)),
                rekindle_pool_statistics.restores(status),
                rekindle_pool_statistics.checkpoints(status),
                rekindle_pool_statistics.images_resident(status),
                rekindle_pool_statistics.images_pinned(status),
                rekindle_pool_statistics.images_read(status),
                rekindle_pool_statistics.bytes_to_device(status),
                rekindle_pool_statistics.bytes_from_device(status),
                rekindle_pool_statistics.ring_bytes(status),
                rekindle_pool_statistics.device_bytes_held(status),
                rekindle_pool_statistics.pinned_bytes(status),
                rekindle_pool_statistics.moved_to_pinned(status),
                rekindle_pool_statistics.given_up(status),
                rekindle_pool_statistics.expired(status),
                rekindle_pool_statistics.expired_bytes(status),
                rekindle_pool_statistics.workers(status),
                rekindle_pool_statistics.contexts(status),
                rekindle_pool_statistics.leases(status),
                rekindle_pool_statistics.runs(status),
                rekindle_pool_statistics.simulated(status) != 0,
                Absent.unlessPositive(rekindle_pool_statistics.driver_version(status)));
    }
}
