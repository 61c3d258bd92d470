// SPDX-License-Identifier: MIT
package dev.rekindle;

/**
 * One process in a checkpoint. Immutable, so any threads may use it.
 *
 * @param pid its pid, in its own pid namespace
 * @param parentPid its parent's
 * @param name its name
 * @param threads how many threads it has
 * @param mode how its device memory travelled
 * @param reason why the driver's own way was taken, empty otherwise
 * @param allocations how many device allocations are outside the process image
 * @param hostBytes its memory in CRIU's pages images
 * @param deviceBytes its device memory outside the process image
 * @param imageBytes stored size of its GPU image
 */
public record ImageProcess(
        int pid,
        int parentPid,
        String name,
        int threads,
        Mode mode,
        String reason,
        int allocations,
        long hostBytes,
        long deviceBytes,
        long imageBytes) {}
