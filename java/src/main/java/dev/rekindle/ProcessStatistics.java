// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.List;
import java.util.Objects;
import java.util.Optional;

/**
 * Statistics of one process that uses CUDA. Immutable, so any threads may use it.
 *
 * @param pid its pid
 * @param mode how its device memory travelled
 * @param reason why the driver's own way was taken; empty for {@link Mode#OFFLOAD}
 * @param deviceBytes bytes of device memory moved outside the process image
 * @param allocations how many allocations that is
 * @param phases its phases in the order of their start
 */
public record ProcessStatistics(
        long pid, Mode mode, Optional<String> reason, long deviceBytes, int allocations, List<Phase> phases) {
    /**
     * Copies the list, and checks that nothing is null.
     *
     * @param pid its pid
     * @param mode how its device memory travelled
     * @param reason why the driver's own way was taken; empty for {@link Mode#OFFLOAD}
     * @param deviceBytes bytes of device memory moved outside the process image
     * @param allocations how many allocations that is
     * @param phases its phases in the order of their start
     */
    public ProcessStatistics {
        Objects.requireNonNull(mode, "mode");
        Objects.requireNonNull(reason, "reason");
        phases = List.copyOf(Objects.requireNonNull(phases, "phases"));
    }
}
