// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/**
 * A JVM that is the first process of its pid namespace, as in a container, or a child subreaper, inherits the processes
 * that it restores. Nobody else can wait for them, and as long as nobody does their process ids stay taken.
 */
final class RestoredChild {
    private static final int WITHOUT_LIMIT = -1;

    private RestoredChild() {}

    /** Returns the exit status to come of a process that has just been restored; nothing where it is no child. */
    static Optional<CompletableFuture<Integer>> watch(int pid) {
        var status = new CompletableFuture<Integer>();
        int code = await(pid, 0, status);
        if (code == RekindleNative.REKINDLE_ERROR_TIMEOUT()) {
            Thread.ofPlatform()
                    .name("restored-" + pid)
                    .daemon()
                    .stackSize(128 << 10)
                    .start(() -> {
                        if (await(pid, WITHOUT_LIMIT, status) != RekindleNative.REKINDLE_OK()) {
                            status.complete(UNKNOWN);
                        }
                    });
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
