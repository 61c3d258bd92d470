// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;

/**
 * A JVM that is the first process of its pid namespace, as in a container, or a child subreaper, inherits the processes
 * that it restores. Nobody else can wait for them, and as long as nobody does their process ids stay taken.
 */
final class RestoredChild {
    private static final int WITHOUT_LIMIT = -1;

    private RestoredChild() {}

    /** Returns the exit status to come of a process that has just been restored; nothing where it is no child. */
    static Optional<CompletableFuture<Integer>> watch(int pid) {
        return watch(
                pid,
                waiting -> Thread.ofPlatform()
                        .name("restored-" + pid)
                        .daemon()
                        .stackSize(128 << 10)
                        .start(waiting));
    }

    /** The waiter runs what waits for the process, on another thread. */
    static Optional<CompletableFuture<Integer>> watch(int pid, Executor waiter) {
        var status = new CompletableFuture<Integer>();
        int code = await(pid, 0, status);
        if (code == RekindleNative.REKINDLE_ERROR_TIMEOUT()) {
            try {
                waiter.execute(() -> {
                    if (await(pid, WITHOUT_LIMIT, status) != RekindleNative.REKINDLE_OK()) {
                        status.complete(UNKNOWN);
                    }
                });
            } catch (OutOfMemoryError noThread) {
                // The restored tree may have taken the last one of the container. It runs, and must not be lost for
                // this.
                return Optional.empty();
            }
        } else if (code != RekindleNative.REKINDLE_OK()) {
            return Optional.empty();
        }
        return Optional.of(status);
    }

    /** The program itself has waited for it. */
    static final int UNKNOWN = -1;

    private static int await(int pid, int limitMillis, CompletableFuture<Integer> status) {
        try (NativeCall call = NativeCall.begin()) {
            MemorySegment value = call.allocate(ValueLayout.JAVA_INT);
            int code = RekindleNative.rekindle_wait(pid, limitMillis, value, call.error());
            if (code == RekindleNative.REKINDLE_OK()) {
                status.complete(value.get(ValueLayout.JAVA_INT, 0));
            }
            return code;
        }
    }
}
