// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.RejectedExecutionException;
import java.util.function.Consumer;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * A run on a thread of its own. Cancelling it, or completing it from outside in any way, cancels the run down to CRIU; a
 * result that comes all the same is undone.
 */
final class RunFuture<T> extends CompletableFuture<T> {
    private RunFuture() {}

    static <T> RunFuture<T> start(
            Executor executor,
            @Nullable ProgressListener listener,
            Function<NativeOperation, T> run,
            Consumer<T> undo) {
        var operation = new NativeOperation(listener);
        var future = new RunFuture<T>();
        try {
            executor.execute(() -> future.run(operation, run, undo));
        } catch (RejectedExecutionException refused) {
            operation.close();
            throw new IllegalStateException("this Rekindle handle is closed", refused);
        } catch (RuntimeException | Error refused) {
            operation.close();
            throw refused;
        }
        // Nobody waits for this stage; when the run itself completed the future, the operation is closed already.
        CompletableFuture<T> watched = future.whenComplete((result, failure) -> operation.cancel());
        assert watched != future;
        return future;
    }

    private void run(NativeOperation operation, Function<NativeOperation, T> run, Consumer<T> undo) {
        T result;
        try (operation) {
            result = run.apply(operation);
        } catch (Throwable failure) {
            completeExceptionally(failure);
            return;
        }
        if (!complete(result)) {
            undo.accept(result);
        }
    }

    /** Stages that follow are ordinary futures: cancelling one of them leaves the run alone. */
    @Override
    public <U> CompletableFuture<U> newIncompleteFuture() {
        return new CompletableFuture<>();
    }
}
