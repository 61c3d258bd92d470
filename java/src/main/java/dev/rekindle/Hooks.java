// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * What a request has to be done before its run, and after one that succeeded or did not. Of each kind all are called, in the
 * order of adding, whatever one of them throws.
 *
 * @param <T> what the run gives
 */
record Hooks<T>(List<Runnable> before, List<Consumer<T>> after, List<Runnable> failed) {
    Hooks {
        before = List.copyOf(before);
        after = List.copyOf(after);
        failed = List.copyOf(failed);
    }

    /** Calls those before the run, and returns the first exception, with the others in it. */
    @Nullable
    Throwable callBefore() {
        return call(before, null);
    }

    /** The same after a run that succeeded. */
    @Nullable
    Throwable callAfter(T result) {
        return call(
                after.stream().map(hook -> (Runnable) () -> hook.accept(result)).toList(), null);
    }

    /** The same after one that did not: what they throw goes into what it failed with. */
    void callFailed(Throwable failure) {
        call(failed, failure);
    }

    private static @Nullable Throwable call(List<Runnable> hooks, @Nullable Throwable failure) {
        Throwable first = failure;
        for (Runnable hook : hooks) {
            try {
                hook.run();
            } catch (Throwable thrown) {
                if (first == null) {
                    first = thrown;
                } else if (!first.equals(thrown)) {
                    first.addSuppressed(thrown);
                }
            }
        }
        return first;
    }
}
