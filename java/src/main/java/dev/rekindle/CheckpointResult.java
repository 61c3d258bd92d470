// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.nio.file.Path;
import java.util.Objects;

/**
 * A checkpoint that succeeded. Immutable, so any threads may use it.
 *
 * @param pid root of the tree that was dumped
 * @param directory where its images are
 * @param statistics sizes, modes and phases
 */
public record CheckpointResult(long pid, Path directory, RunStatistics statistics) {
    /**
     * Checks that nothing is null.
     *
     * @param pid root of the tree that was dumped
     * @param directory where its images are
     * @param statistics sizes, modes and phases
     */
    public CheckpointResult {
        Objects.requireNonNull(directory, "directory");
        Objects.requireNonNull(statistics, "statistics");
    }
}
