// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.Objects;
import java.util.OptionalLong;

/**
 * What a checkpoint, or one process of it, has on one GPU of the machine of the dump. Immutable, so any threads may use it.
 *
 * @param number the GPU's number there
 * @param model its name, as the driver had it
 * @param uuid its UUID
 * @param memoryBytes all of its memory
 * @param deviceBytes device memory outside the process images; 0 in {@link Mode#NATIVE}, whose memory is in them
 * @param driverBytes what the driver held for the processes beside it; empty where it was not known
 * @param allocations how many device allocations are outside the process images
 */
public record GpuUse(
        int number,
        String model,
        String uuid,
        long memoryBytes,
        long deviceBytes,
        OptionalLong driverBytes,
        int allocations) {
    /**
     * Checks that nothing is null.
     *
     * @param number the GPU's number there
     * @param model its name, as the driver had it
     * @param uuid its UUID
     * @param memoryBytes all of its memory
     * @param deviceBytes device memory outside the process images
     * @param driverBytes what the driver held for the processes beside it; empty where it was not known
     * @param allocations how many device allocations are outside the process images
     */
    public GpuUse {
        Objects.requireNonNull(model, "model");
        Objects.requireNonNull(uuid, "uuid");
        Objects.requireNonNull(driverBytes, "driverBytes");
    }

    /**
     * How much has to be free on the GPU that stands for this one, as far as it is known.
     *
     * @return bytes
     */
    public long neededBytes() {
        return deviceBytes + driverBytes.orElse(0);
    }

    /** Both together, which are of the same GPU. */
    GpuUse plus(GpuUse other) {
        return new GpuUse(
                number,
                model,
                uuid,
                memoryBytes,
                deviceBytes + other.deviceBytes,
                Absent.unlessPositive(driverBytes.orElse(0) + other.driverBytes.orElse(0)),
                allocations + other.allocations);
    }
}
