// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import dev.rekindle.internal.ffi.rekindle_gpu;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Objects;
import java.util.OptionalLong;
import java.util.stream.IntStream;

/**
 * A GPU of a machine, this one or another. Immutable, so any threads may use it.
 *
 * @param number its number, as the driver counts in the process that asked
 * @param model its name, as the driver has it
 * @param uuid {@code GPU-} and 32 hexadecimal digits in five groups
 * @param memoryBytes all of its memory
 * @param freeBytes how much of it was free when it was asked; empty where nobody says it, in containers without
 *     {@code libnvidia-ml.so.1} for example
 * @param driverVersion as {@code cuDriverGetVersion} says, 13000 for CUDA 13.0
 * @param simulated whether it is one of the simulated driver
 */
public record Gpu(
        int number,
        String model,
        String uuid,
        long memoryBytes,
        OptionalLong freeBytes,
        int driverVersion,
        boolean simulated) {
    private static final int CAPACITY = 64;

    /**
     * Checks that nothing is null.
     *
     * @param number its number, as the driver counts in the process that asked
     * @param model its name, as the driver has it
     * @param uuid {@code GPU-} and 32 hexadecimal digits in five groups
     * @param memoryBytes all of its memory
     * @param freeBytes how much of it was free when it was asked; empty where nobody says it
     * @param driverVersion as {@code cuDriverGetVersion} says
     * @param simulated whether it is one of the simulated driver
     */
    public Gpu {
        Objects.requireNonNull(model, "model");
        Objects.requireNonNull(uuid, "uuid");
        Objects.requireNonNull(freeBytes, "freeBytes");
    }

    static List<Gpu> all(NativeEnvironment environment) {
        try (NativeCall call = NativeCall.begin()) {
            MemorySegment gpus = call.array(rekindle_gpu.layout(), CAPACITY);
            MemorySegment count = call.allocate(ValueLayout.JAVA_INT);
            int code = RekindleNative.rekindle_gpus_list(environment.write(call), gpus, CAPACITY, count, call.error());
            if (code != RekindleNative.REKINDLE_OK()) {
                throw Failure.exception(Failure.Action.CHECK, code, call.error());
            }
            return IntStream.range(0, Math.min(CAPACITY, count.get(ValueLayout.JAVA_INT, 0)))
                    .mapToObj(i -> read(rekindle_gpu.asSlice(gpus, i)))
                    .toList();
        }
    }

    private static Gpu read(MemorySegment gpu) {
        return new Gpu(
                rekindle_gpu.device(gpu),
                rekindle_gpu.name(gpu).getString(0),
                rekindle_gpu.uuid(gpu).getString(0),
                rekindle_gpu.memory_bytes(gpu),
                rekindle_gpu.free_known(gpu) == 0
                        ? OptionalLong.empty()
                        : OptionalLong.of(rekindle_gpu.free_bytes(gpu)),
                rekindle_gpu.driver_version(gpu),
                rekindle_gpu.simulated(gpu) != 0);
    }

    static MemorySegment write(NativeCall call, List<Gpu> gpus) {
        MemorySegment array = call.array(rekindle_gpu.layout(), gpus.size()).fill((byte) 0);
        for (int i = 0; i < gpus.size(); i++) {
            Gpu gpu = gpus.get(i);
            MemorySegment struct = rekindle_gpu.asSlice(array, i);
            rekindle_gpu.device(struct, gpu.number);
            call.copy(gpu.model, rekindle_gpu.name(struct));
            call.copy(gpu.uuid, rekindle_gpu.uuid(struct));
            rekindle_gpu.memory_bytes(struct, gpu.memoryBytes);
            rekindle_gpu.free_known(struct, gpu.freeBytes.isPresent() ? 1 : 0);
            rekindle_gpu.free_bytes(struct, gpu.freeBytes.orElse(0));
            rekindle_gpu.driver_version(struct, gpu.driverVersion);
            rekindle_gpu.simulated(struct, gpu.simulated ? 1 : 0);
        }
        return array;
    }
}
