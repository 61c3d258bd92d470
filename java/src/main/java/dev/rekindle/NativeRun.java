// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** A run that the native library does on a thread of an executor. */
final class NativeRun<T> implements Run<T> {
    private final NativeOperation operation;
    private final LatestProgress progress;
    private final CompletableFuture<T> result = new CompletableFuture<>();

    /** Either the executor's thread begins the run, or somebody cancels it before. */
    private final AtomicBoolean begun = new AtomicBoolean();

    private NativeRun(NativeOperation operation, LatestProgress progress) {
        this.operation = operation;
        this.progress = progress;
    }

    /** The operation, whose listener is the progress, is closed at the end of the run. */
    static <T> Run<T> start(
            Executor executor,
            NativeOperation operation,
            LatestProgress progress,
            Failure.Action action,
            Function<NativeOperation, T> body) {
        var run = new NativeRun<T>(operation, progress);
        operation.beforeItBegins(() -> run.endUnlessBegun(action));
        // A JVM that ends has known the operation since it was made.
        if (operation.isCancelled()) {
            run.endUnlessBegun(action);
            return run;
        }
        try {
            executor.execute(() -> run.run(body));
        } catch (Throwable refused) {
            operation.close();
            throw refused;
        }
        return run;
    }

    @Override
    public CompletableFuture<T> result() {
        return result.copy();
    }

    @Override
    public T await() throws InterruptedException {
        try {
            return result.get();
        } catch (ExecutionException failure) {
            Throwable cause = failure.getCause();
            if (cause instanceof RuntimeException unchecked) {
                throw unchecked;
            }
            if (cause instanceof Error error) {
                throw error;
            }
            throw new CompletionException(cause); // a listener in another language threw it undeclared
        }
    }

    @Override
    public Progress progress() {
        return progress.latest();
    }

    @Override
    public void cancel() {
        operation.cancel();
    }

    /** Its executor may never have a thread for it, and a JVM that ends waits for all runs. */
    private void endUnlessBegun(Failure.Action action) {
        if (begun.compareAndSet(false, true)) {
            operation.close();
            result.completeExceptionally(Failure.of(ErrorCode.CANCELLED, "the run was cancelled before it began")
                    .exception(action));
        }
    }

    @Override
    public CompletableFuture<@Nullable Void> ended() {
        return operation.end().copy();
    }

    private void run(Function<NativeOperation, T> body) {
        if (!begun.compareAndSet(false, true)) {
            return;
        }
        // It ends before the stages that follow the result run: they may wait for its end.
        try {
            T value = body.apply(operation);
            operation.close();
            result.complete(value);
        } catch (Throwable failure) {
            operation.close();
            result.completeExceptionally(failure);
        }
    }

    @Override
    public String toString() {
        return "Run[" + (operation.end().isDone() ? "ended" : progress()) + "]";
    }
}
