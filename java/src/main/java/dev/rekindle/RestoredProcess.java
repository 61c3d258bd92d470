// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.CompletableFuture;

/**
 * A process tree that was restored and runs. Any threads may use it.
 *
 * <p>Its root is a child of this JVM only where that is the first process of its pid namespace, as in a container, or a
 * child subreaper; this library waits for it then.
 *
 * <p>The handle is taken when the restore returns. A later restore of the same image makes another process of the same
 * pid, which this one does not follow.
 */
public interface RestoredProcess {
    /**
     * The root of the tree.
     *
     * @return its pid
     */
    long pid();

    /**
     * What the restore did.
     *
     * @return sizes, modes and phases
     */
    RunStatistics statistics();

    /**
     * A handle on the root of the tree.
     *
     * @return the handle, empty where it had ended before the restore returned
     */
    Optional<ProcessHandle> processHandle();

    /**
     * Returns a future that completes when the root of the tree has ended.
     *
     * @return the future; cancelling it does nothing to the process
     */
    CompletableFuture<RestoredProcess> onExit();

    /**
     * How the root of the tree has ended.
     *
     * @return its exit status, 128 and the number of the signal where one ended it; empty as long as it runs, and where it
     *     is no child of this JVM, which the system tells nothing then
     */
    OptionalInt exitStatus();
}
