// SPDX-License-Identifier: MIT
package dev.rekindle;

/**
 * Is told of every checkpoint and restore of a handle, see {@link Rekindle.Builder#observer}: for metrics and traces. Runs may
 * go on side by side, each on a thread of its own, so it has to be thread-safe. What it throws is logged, and changes
 * nothing.
 */
@FunctionalInterface
public interface RunObserver {
    /**
     * A run begins. Called on its thread, before anything is done, and after the hooks that come before it.
     *
     * @param run which one
     * @return who is told of the rest of this run
     */
    Observation begin(RunStart run);

    /** Is told of the rest of one run, on the run's thread: its phases, and then its end or its failure. */
    interface Observation {
        /**
         * A phase of one process, told when the run has succeeded, before {@link #end}.
         *
         * @param pid the process
         * @param phase what it was, and how long it took
         */
        default void phase(long pid, Phase phase) {}

        /**
         * The run has succeeded.
         *
         * @param pid root of the tree
         * @param statistics sizes, modes and phases
         */
        default void end(long pid, RunStatistics statistics) {}

        /**
         * The run has failed, or was cancelled.
         *
         * @param failure what its call throws: a {@link RekindleException} but for wrong arguments; of an {@link Error}, an
         *     {@link IllegalStateException} with that as its cause
         */
        default void fail(RuntimeException failure) {}
    }
}
