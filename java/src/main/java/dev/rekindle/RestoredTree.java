// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** A tree that this process has restored. */
final class RestoredTree implements RestoredProcess {
    private final long pid;
    private final RunStatistics statistics;
    private final Optional<ProcessHandle> processHandle;
    private final Optional<CompletableFuture<Integer>> childStatus;

    RestoredTree(
            long pid,
            RunStatistics statistics,
            Optional<ProcessHandle> processHandle,
            Optional<CompletableFuture<Integer>> childStatus) {
        this.pid = pid;
        this.statistics = statistics;
        this.processHandle = processHandle;
        this.childStatus = childStatus;
    }

    @Override
    public long pid() {
        return pid;
    }

    @Override
    public RunStatistics statistics() {
        return statistics;
    }

    @Override
    public Optional<ProcessHandle> processHandle() {
        return processHandle;
    }

    @Override
    public CompletableFuture<RestoredProcess> onExit() {
        if (childStatus.isPresent()) {
            return childStatus.get().thenApply(status -> this);
        }
        return processHandle
                .map(RestoredTree::end)
                .orElseGet(() -> CompletableFuture.completedFuture(null))
                .thenApply(ended -> this);
    }

    @Override
    public OptionalInt exitStatus() {
        int status =
                childStatus.map(future -> future.getNow(RestoredChild.UNKNOWN)).orElse(RestoredChild.UNKNOWN);
        return status == RestoredChild.UNKNOWN ? OptionalInt.empty() : OptionalInt.of(status);
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

    /** The same, and its process ids are free again, but for those that somebody else has to wait for. */
    void killAndAwait() {
        kill();
        onExit().completeOnTimeout(this, 10, TimeUnit.SECONDS).join();
    }

    @Override
    public String toString() {
        return "RestoredProcess[pid=" + pid + ", statistics=" + statistics + "]";
    }
}
