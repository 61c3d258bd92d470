// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/**
 * A process tree that was restored and runs. Its root is not a child of this JVM.
 *
 * @param pid root of the tree
 * @param statistics sizes, modes and phases
 */
public record RestoredProcess(long pid, RunStatistics statistics) {
    /**
     * Returns a handle on the root of the tree.
     *
     * @return the handle, empty where the process has ended already
     */
    public Optional<ProcessHandle> processHandle() {
        return ProcessHandle.of(pid);
    }

    /**
     * Returns a future that completes when the root of the tree has ended. Its exit status is not known, since it is no
     * child of this JVM.
     *
     * @return the future; cancelling it does nothing to the process
     */
    public CompletableFuture<RestoredProcess> onExit() {
        return processHandle()
                .map(handle -> handle.onExit().thenApply(ended -> this))
                .orElseGet(() -> CompletableFuture.completedFuture(this));
    }

    /** Ends the whole tree. */
    void kill() {
        processHandle().ifPresent(handle -> {
            var descendants = handle.descendants().toList();
            handle.destroyForcibly();
            descendants.forEach(ProcessHandle::destroyForcibly);
        });
    }
}
