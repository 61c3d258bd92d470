// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.time.Duration;
import java.util.Objects;

/**
 * CRIU's own figures under CRIU's own names. Those of the other kind of run are zero. Immutable, so any threads may
 * use it.
 *
 * @param freezingTime checkpoint: stopping the tree
 * @param frozenTime checkpoint: how long the tree stood still
 * @param memdumpTime checkpoint: collecting memory
 * @param memwriteTime checkpoint: writing memory
 * @param pagesScanned checkpoint: pages looked at
 * @param pagesWritten checkpoint: pages written
 * @param forkingTime restore: creating processes
 * @param restoreTime restore: all of CRIU's work, without the GPU's
 * @param pagesRestored restore: pages read
 */
public record CriuStatistics(
        Duration freezingTime,
        Duration frozenTime,
        Duration memdumpTime,
        Duration memwriteTime,
        long pagesScanned,
        long pagesWritten,
        Duration forkingTime,
        Duration restoreTime,
        long pagesRestored) {
    /**
     * Checks that nothing is null.
     *
     * @param freezingTime checkpoint: stopping the tree
     * @param frozenTime checkpoint: how long the tree stood still
     * @param memdumpTime checkpoint: collecting memory
     * @param memwriteTime checkpoint: writing memory
     * @param pagesScanned checkpoint: pages looked at
     * @param pagesWritten checkpoint: pages written
     * @param forkingTime restore: creating processes
     * @param restoreTime restore: all of CRIU's work, without the GPU's
     * @param pagesRestored restore: pages read
     */
    public CriuStatistics {
        Objects.requireNonNull(freezingTime, "freezingTime");
        Objects.requireNonNull(frozenTime, "frozenTime");
        Objects.requireNonNull(memdumpTime, "memdumpTime");
        Objects.requireNonNull(memwriteTime, "memwriteTime");
        Objects.requireNonNull(forkingTime, "forkingTime");
        Objects.requireNonNull(restoreTime, "restoreTime");
    }
}
