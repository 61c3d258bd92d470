// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * A process tree that was restored and runs. Its root is not a child of this JVM. Immutable, so any threads may use it.
 *
 * <p>The handle is taken when the restore returns. A later restore of the same image makes another process of the same
 * pid, which this one does not follow.
 *
 * @param pid root of the tree
 * @param statistics sizes, modes and phases
 * @param processHandle a handle on the root of the tree, empty where it had ended before the restore returned
 */
public record RestoredProcess(long pid, RunStatistics statistics, Optional<ProcessHandle> processHandle) {
    /**
     * Returns a future that completes when the root of the tree has ended. Its exit status is not known, since it is no
     * child of this JVM.
     *
     * @return the future; cancelling it does nothing to the process
     */
    public CompletableFuture<RestoredProcess> onExit() {
        return processHandle
                .map(RestoredProcess::end)
                .orElseGet(() -> CompletableFuture.completedFuture(null))
                .thenApply(ended -> this);
    }

    /**
     * The JDK waits for pids: its future may be about the process that had the pid before, or has it now. A handle's
     * {@code isAlive} compares start times too.
     */
    private static CompletableFuture<@Nullable Void> end(ProcessHandle handle) {
        return handle.isAlive()
                ? handle.onExit().thenCompose(ended -> end(handle))
                : CompletableFuture.completedFuture(null);
    }

    /** Ends the whole tree. */
    void kill() {
        processHandle.filter(ProcessHandle::isAlive).ifPresent(handle -> {
            var descendants = handle.descendants().toList();
            handle.destroyForcibly();
            descendants.forEach(ProcessHandle::destroyForcibly);
        });
    }
}
