// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.rekindle_pool_statistics;
import java.lang.foreign.MemorySegment;
import java.time.Duration;

/**
 * What a pool has done and holds, at one moment. Immutable, so any threads may use it.
 *
 * @param pid the process that hosts it
 * @param uptime since it started
 * @param restores processes restored
 * @param checkpoints processes checkpointed
 * @param bytesToDevice copied to devices
 * @param bytesFromDevice copied from devices
 * @param ringBytes size of the pinned copy buffers
 * @param deviceBytesHeld physical device memory that it holds now
 * @param workers copy workers
 * @param contexts warm contexts
 * @param leases leases of this handle
 * @param runs runs under way
 * @param simulated whether the simulated driver is used
 * @param driverVersion as {@code cuDriverGetVersion} says
 */
public record PoolStatistics(
        long pid,
        Duration uptime,
        long restores,
        long checkpoints,
        long bytesToDevice,
        long bytesFromDevice,
        long ringBytes,
        long deviceBytesHeld,
        int workers,
        int contexts,
        int leases,
        int runs,
        boolean simulated,
        int driverVersion) {
    static PoolStatistics of(MemorySegment status) {
        return new PoolStatistics(
                rekindle_pool_statistics.pid(status),
                // System.nanoTime() reads the clock that the pool's start was read from.
                Duration.ofNanos(System.nanoTime() - rekindle_pool_statistics.started(status)),
                rekindle_pool_statistics.restores(status),
                rekindle_pool_statistics.checkpoints(status),
                rekindle_pool_statistics.bytes_to_device(status),
                rekindle_pool_statistics.bytes_from_device(status),
                rekindle_pool_statistics.ring_bytes(status),
                rekindle_pool_statistics.device_bytes_held(status),
                rekindle_pool_statistics.workers(status),
                rekindle_pool_statistics.contexts(status),
                rekindle_pool_statistics.leases(status),
                rekindle_pool_statistics.runs(status),
                rekindle_pool_statistics.simulated(status) != 0,
                rekindle_pool_statistics.driver_version(status));
    }
}
