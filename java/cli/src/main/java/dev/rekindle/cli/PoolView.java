// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.PoolGpu;
import dev.rekindle.PoolStatistics;
import dev.rekindle.ResidentImages;
import dev.rekindle.Tier;
import dev.rekindle.WarmPool;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** What a pool has done and holds, for programs. */
record PoolView(
        long pid,
        Duration uptimeSeconds,
        int workers,
        int contexts,
        long restores,
        long imagesResident,
        long imagesPinned,
        long imagesRead,
        long checkpoints,
        long toDeviceBytes,
        long fromDeviceBytes,
        long ringBytes,
        long deviceHeldBytes,
        long pinnedHeldBytes,
        long movedToPinned,
        long givenUp,
        long expired,
        long expiredBytes,
        int runs,
        boolean simulated,
        int driverVersion,
        List<Gpu> gpus,
        List<Images> images) {
    /** What it has of a GPU. */
    record Gpu(
            int number,
            String model,
            String uuid,
            boolean warm,
            long heldBytes,
            @Nullable Long freeBytes,
            long memoryBytes) {
        static Gpu of(PoolGpu gpu) {
            return new Gpu(
                    gpu.number(),
                    gpu.model(),
                    gpu.uuid(),
                    gpu.warm(),
                    gpu.bytesHeld(),
                    gpu.freeBytes().isPresent() ? gpu.freeBytes().getAsLong() : null,
                    gpu.memoryBytes());
        }
    }

    /** The images of a folder in device memory or pinned memory. */
    record Images(
            Optional<Path> directory,
            ResidentImages.State state,
            boolean taken,
            boolean parked,
            Tier tier,
            int processes,
            long filledBytes,
            long bytes,
            Duration ageSeconds) {
        static Images of(ResidentImages images) {
            return new Images(
                    images.directory(),
                    images.state(),
                    images.taken(),
                    images.parked(),
                    images.tier(),
                    images.count(),
                    images.bytesFilled(),
                    images.bytes(),
                    images.age());
        }
    }

    static PoolView of(WarmPool pool) {
        PoolStatistics statistics = pool.statistics();
        return new PoolView(
                statistics.pid(),
                statistics.uptime(),
                statistics.workers(),
                statistics.contexts(),
                statistics.restores(),
                statistics.imagesResident(),
                statistics.imagesPinned(),
                statistics.imagesRead(),
                statistics.checkpoints(),
                statistics.bytesToDevice(),
                statistics.bytesFromDevice(),
                statistics.ringBytes(),
                statistics.deviceBytesHeld(),
                statistics.pinnedBytesHeld(),
                statistics.movedToPinned(),
                statistics.givenUp(),
                statistics.expired(),
                statistics.bytesExpired(),
                statistics.runs(),
                statistics.simulated(),
                statistics.driverVersion().orElse(0),
                pool.gpus().stream().map(Gpu::of).toList(),
                pool.images().stream().map(Images::of).toList());
    }
}
