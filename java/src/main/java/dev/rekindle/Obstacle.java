// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.Objects;

/**
 * What is in the way of a dump. Immutable, so any threads may use it.
 *
 * @param kind which one
 * @param pid the process that has it
 * @param what what is there
 * @param remedy what to do about it
 */
public record Obstacle(ObstacleKind kind, long pid, String what, String remedy) {
    /**
     * Checks that nothing is null.
     *
     * @param kind which one
     * @param pid the process that has it
     * @param what what is there
     * @param remedy what to do about it
     */
    public Obstacle {
        Objects.requireNonNull(kind, "kind");
        Objects.requireNonNull(what, "what");
        Objects.requireNonNull(remedy, "remedy");
    }
}
