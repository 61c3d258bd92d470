// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.rekindle_pool_gpu;
import java.lang.foreign.MemorySegment;
import java.util.Objects;
import java.util.OptionalLong;

/**
 * What a pool has of a GPU, at one moment. Immutable, so any threads may use it. Sizes are bytes.
 *
 * @param number its number, as the driver counts in the pool
 * @param model its name, as the driver has it
 * @param uuid {@code GPU-} and 32 hexadecimal digits in five groups
 * @param warm whether the pool has a warm context on it
 * @param bytesHeld of its memory, by the pool: images and what dumps under way have in hand; contexts take more
 * @param memoryBytes all of its memory
 * @param freeBytes how much of it was free when it was asked; empty where nobody says it
 */
public record PoolGpu(
        int number, String model, String uuid, boolean warm, long bytesHeld, long memoryBytes, OptionalLong freeBytes) {
    /**
     * Checks that nothing is null.
     *
     * @param number its number, as the driver counts in the pool
     * @param model its name, as the driver has it
     * @param uuid {@code GPU-} and 32 hexadecimal digits in five groups
     * @param warm whether the pool has a warm context on it
     * @param bytesHeld of its memory, by the pool
     * @param memoryBytes all of its memory
     * @param freeBytes how much of it was free when it was asked; empty where nobody says it
     */
    public PoolGpu {
        Objects.requireNonNull(model, "model");
        Objects.requireNonNull(uuid, "uuid");
        Objects.requireNonNull(freeBytes, "freeBytes");
    }

    static PoolGpu of(MemorySegment gpu) {
        return new PoolGpu(
                rekindle_pool_gpu.device(gpu),
                rekindle_pool_gpu.name(gpu).getString(0),
                rekindle_pool_gpu.uuid(gpu).getString(0),
                rekindle_pool_gpu.warm(gpu) != 0,
                rekindle_pool_gpu.bytes_held(gpu),
                rekindle_pool_gpu.memory_bytes(gpu),
                rekindle_pool_gpu.free_known(gpu) == 0
                        ? OptionalLong.empty()
                        : OptionalLong.of(rekindle_pool_gpu.free_bytes(gpu)));
    }
}
