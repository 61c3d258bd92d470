// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.List;

/**
 * Statistics of one process that uses CUDA. Immutable, so any threads may use it.
 *
 * @param pid its pid
 * @param mode how its device memory travelled
 * @param reason why the driver's own way was taken, empty for {@link Mode#OFFLOAD}
 * @param deviceBytes device memory moved outside the process image
 * @param allocations how many allocations that is
 * @param phases its phases in the order of their start
 */
public record ProcessStatistics(
        int pid, Mode mode, String reason, long deviceBytes, int allocations, List<Phase> phases) {
    /**
     * Copies the list.
     *
     * @param pid its pid
     * @param mode how its device memory travelled
     * @param reason why the driver's own way was taken, empty for {@link Mode#OFFLOAD}
     * @param deviceBytes device memory moved outside the process image
     * @param allocations how many allocations that is
     * @param phases its phases in the order of their start
     */
    public ProcessStatistics {
        phases = List.copyOf(phases);
    }
}
