// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.nio.file.Path;
import java.util.Objects;
import java.util.OptionalLong;

/**
 * A run that begins. Immutable, so any threads may use it.
 *
 * @param kind what it does
 * @param directory where its images are, or are to be
 * @param pid root of the tree; empty for a restore, whose image says it
 */
public record RunStart(RunKind kind, Path directory, OptionalLong pid) {
    /**
     * Checks that nothing is null.
     *
     * @param kind what it does
     * @param directory where its images are, or are to be
     * @param pid root of the tree; empty for a restore
     */
    public RunStart {
        Objects.requireNonNull(kind, "kind");
        Objects.requireNonNull(directory, "directory");
        Objects.requireNonNull(pid, "pid");
    }
}
