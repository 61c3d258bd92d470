// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.List;
import java.util.Objects;
import java.util.Optional;

/**
 * One process in a checkpoint. Immutable, so any threads may use it. Sizes are bytes.
 *
 * @param pid its pid, in its own pid namespace
 * @param parentPid its parent's
 * @param name its name
 * @param threads how many threads it has
 * @param mode how its device memory travelled
 * @param reason why the driver's own way was taken, or where the contents are if in no file; empty otherwise
 * @param hostBytes its memory in CRIU's pages images
 * @param gpuImage what its GPU image stores; all zero where it has none
 * @param gpus what it has on each GPU
 */
public record ImageProcess(
        long pid,
        long parentPid,
        String name,
        int threads,
        Mode mode,
        Optional<String> reason,
        long hostBytes,
        GpuImage gpuImage,
        List<GpuUse> gpus) {
    /**
     * Copies the list, and checks that nothing is null.
     *
     * @param pid its pid, in its own pid namespace
     * @param parentPid its parent's
     * @param name its name
     * @param threads how many threads it has
     * @param mode how its device memory travelled
     * @param reason why the driver's own way was taken, or where the contents are if in no file; empty otherwise
     * @param hostBytes its memory in CRIU's pages images
     * @param gpuImage what its GPU image stores; all zero where it has none
     * @param gpus what it has on each GPU
     */
    public ImageProcess {
        Objects.requireNonNull(name, "name");
        Objects.requireNonNull(mode, "mode");
        Objects.requireNonNull(reason, "reason");
        Objects.requireNonNull(gpuImage, "gpuImage");
        gpus = List.copyOf(Objects.requireNonNull(gpus, "gpus"));
    }

    /**
     * Its device memory outside the process image.
     *
     * @return bytes on all GPUs
     */
    public long deviceBytes() {
        return gpus.stream().mapToLong(GpuUse::deviceBytes).sum();
    }

    /**
     * How many device allocations are outside the process image.
     *
     * @return their number on all GPUs
     */
    public int allocations() {
        return gpus.stream().mapToInt(GpuUse::allocations).sum();
    }
}
