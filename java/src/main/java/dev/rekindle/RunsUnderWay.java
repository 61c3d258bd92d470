// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * The runs of this JVM. When it ends, by itself or by a signal, they are cancelled, and its end waits for theirs: else CRIU
 * would go on without it, and a dump would end its process behind the back of everybody who thinks it was given up.
 */
final class RunsUnderWay {
    private static final Set<NativeOperation> OPERATIONS = ConcurrentHashMap.newKeySet();
    private static volatile boolean ending;

    /** Installed with the first run. */
    private static final class Hook {
        static final boolean INSTALLED = install();

        private static boolean install() {
            try {
                Runtime.getRuntime().addShutdownHook(new Thread(RunsUnderWay::end, "rekindle-shutdown"));
                return true;
            } catch (IllegalStateException tooLate) {
                return false;
            }
        }
    }

    private RunsUnderWay() {}

    /** Throws what a run of that kind fails with where it comes too late. */
    static void add(NativeOperation operation, Failure.Action action) {
        OPERATIONS.add(operation);
        // Either the hook sees the operation, or this sees that the hook has begun.
        if (!Hook.INSTALLED || ending) {
            OPERATIONS.remove(operation);
            throw Failure.of(
                            ErrorCode.CANCELLED,
                            "interrupted before it began: this JVM is ending, and begins no more runs")
                    .exception(action);
        }
    }

    static void remove(NativeOperation operation) {
        OPERATIONS.remove(operation);
    }

    private static void end() {
        ending = true;
        OPERATIONS.forEach(NativeOperation::cancel);
        OPERATIONS.forEach(NativeOperation::awaitEnd);
    }
}
