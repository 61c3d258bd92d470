// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.time.Duration;
import java.util.OptionalInt;

/**
 * What a pool has done and holds, at one moment. Immutable, so any threads may use it. Sizes are bytes. Other
 * implementations than the library's are for tests; it may get further methods.
 */
public interface PoolStatistics {
    /**
     * The process that hosts it.
     *
     * @return its pid
     */
    long pid();

    /**
     * Since it started.
     *
     * @return the time
     */
    Duration uptime();

    /**
     * Processes restored since it started.
     *
     * @return how many
     */
    long restores();

    /**
     * Processes checkpointed since it started.
     *
     * @return how many
     */
    long checkpoints();

    /**
     * Of the restored processes, those whose device memory lay in the pool already, all of it, when the restore asked for it:
     * see {@link WarmPool#prefetch}.
     *
     * @return how many
     */
    long imagesResident();

    /**
     * Of the restored processes, those of whose device memory some still had to be read from a GPU image. A process
     * without device memory in a GPU image counts neither here nor as resident or pinned.
     *
     * @return how many
     */
    long imagesRead();

    /**
     * Of the restored processes, those whose device memory was copied from pinned memory of the host, all of it: see {@link
     * Tier#PINNED}.
     *
     * @return how many
     */
    long imagesPinned();

    /**
     * Copied to devices since it started.
     *
     * @return bytes
     */
    long bytesToDevice();

    /**
     * Copied from devices since it started.
     *
     * @return bytes
     */
    long bytesFromDevice();

    /**
     * Size of the pinned copy buffers.
     *
     * @return bytes
     */
    long ringBytes();

    /**
     * Physical device memory that it holds now.
     *
     * @return bytes
     */
    long deviceBytesHeld();

    /**
     * Images in pinned memory of the host now, or on their way there.
     *
     * @return bytes
     */
    long pinnedBytesHeld();

    /**
     * Folders whose images made room in device memory by going to pinned memory, since it started.
     *
     * @return how many
     */
    long movedToPinned();

    /**
     * Folders whose images made room by being given up, since it started: the next restore reads the files.
     *
     * @return how many
     */
    long givenUp();

    /**
     * Folders whose prefetched images nobody took within {@code REKINDLE_PREFETCH_EXPIRY}, since it started.
     *
     * @return how many
     */
    long expired();

    /**
     * Their device memory, or pinned memory, which the pool has let go of.
     *
     * @return bytes
     */
    long bytesExpired();

    /**
     * Copy workers.
     *
     * @return how many
     */
    int workers();

    /**
     * Warm contexts.
     *
     * @return how many
     */
    int contexts();

    /**
     * Leases of the handle that was asked.
     *
     * @return how many
     */
    int leases();

    /**
     * Runs under way.
     *
     * @return how many
     */
    int runs();

    /**
     * Whether the simulated driver is used.
     *
     * @return true for the simulated one
     */
    boolean simulated();

    /**
     * The driver's version.
     *
     * @return as {@code cuDriverGetVersion} says; empty as long as the pool has not started the driver
     */
    OptionalInt driverVersion();
}
