// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import dev.rekindle.internal.ffi.rekindle_progress_callback;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A run that another thread can cancel and a listener watches. Closing frees it; cancelling a closed one does nothing.
 * There is one upcall stub for all runs: the callback's context is the number under which the run is found again.
 */
final class NativeOperation implements AutoCloseable {
    private static final Logger LOGGER = LoggerFactory.getLogger(NativeOperation.class);
    private static final Map<Long, NativeOperation> WATCHED = new ConcurrentHashMap<>();
    private static final AtomicLong NUMBERS = new AtomicLong();

    /** Made with the first run that has a listener, after the library was loaded. */
    private static final class Stub {
        static final MemorySegment PROGRESS =
                rekindle_progress_callback.allocate(NativeOperation::dispatch, Arena.global());
    }

    private final long number = NUMBERS.incrementAndGet();
    private final @Nullable ProgressListener listener;
    private @Nullable MemorySegment address;
    private volatile @Nullable Throwable listenerFailure;
    private volatile @Nullable Thread thread;
    private volatile boolean cancelled;
    private volatile @Nullable Runnable cancellation;
    private final CompletableFuture<@Nullable Void> end = new CompletableFuture<>();

    NativeOperation(@Nullable ProgressListener listener, Failure.Action action) {
        NativeLibrary.load();
        this.listener = listener;
        MemorySegment callback = listener == null ? MemorySegment.NULL : Stub.PROGRESS;
        if (listener != null) {
            WATCHED.put(number, this);
        }
        address = RekindleNative.rekindle_operation_create(callback, MemorySegment.ofAddress(number));
        if (MemorySegment.NULL.equals(address)) {
            WATCHED.remove(number);
            throw new OutOfMemoryError("no native memory for an operation");
        }
        try {
            RunsUnderWay.add(this, action);
        } catch (RekindleException ending) {
            close();
            throw ending;
        }
    }

    /** An operation where the run needs one, which is where somebody listens. */
    static @Nullable NativeOperation watching(@Nullable ProgressListener listener, Failure.Action action) {
        if (listener == null) {
            return null;
        }
        var operation = new NativeOperation(listener, action);
        operation.enter();
        return operation;
    }

    static MemorySegment address(@Nullable NativeOperation operation) {
        return operation == null ? MemorySegment.NULL : operation.addressOf();
    }

    private synchronized MemorySegment addressOf() {
        return address == null ? MemorySegment.NULL : address;
    }

    /** The run's own thread is this one. */
    void enter() {
        thread = Thread.currentThread();
    }

    /** Completes when the operation is closed, with nothing. */
    CompletableFuture<@Nullable Void> end() {
        return end;
    }

    /** Waits until it is closed, on the thread of a JVM that ends. */
    void awaitEnd() {
        while (true) {
            try {
                end.get(50, TimeUnit.MILLISECONDS);
                return;
            } catch (TimeoutException later) {
                if (endsTheJvm()) {
                    LOGGER.error("a listener or a hook of a run has ended the JVM, which cannot wait for the run then");
                    return;
                }
            } catch (InterruptedException | ExecutionException never) {
                return;
            }
        }
    }

    /** Does the run's thread wait for the end of the JVM, which would wait for it? */
    private boolean endsTheJvm() {
        Thread own = thread;
        return own != null
                && Arrays.stream(own.getStackTrace())
                        .anyMatch(frame -> frame.getClassName().equals("java.lang.Runtime")
                                && frame.getMethodName().equals("exit"));
    }

    /** Says what to do where it is cancelled before its run has begun, from now on. */
    void beforeItBegins(Runnable cancellation) {
        this.cancellation = cancellation;
    }

    void cancel() {
        synchronized (this) {
            if (address != null) {
                cancelled = true;
                RekindleNative.rekindle_operation_cancel(address);
            }
        }
        Runnable also = cancellation;
        if (also != null) {
            also.run();
        }
    }

    /** Somebody has asked it to end before it was over. */
    boolean isCancelled() {
        return cancelled;
    }

    @Override
    public synchronized void close() {
        if (address != null) {
            RekindleNative.rekindle_operation_destroy(address);
            address = null;
            WATCHED.remove(number);
            RunsUnderWay.remove(this);
        }
        end.complete(null);
    }

    /** Runs of which a listener would still be told. */
    static int watched() {
        return WATCHED.size();
    }

    /** Throws what the listener threw. The failure of the run itself, which follows from it, is kept as suppressed. */
    static void rethrow(@Nullable NativeOperation operation, Throwable outcome) {
        Throwable failure = operation == null ? null : operation.listenerFailure;
        if (failure != null) {
            failure.addSuppressed(outcome);
            throw NativeOperation.<RuntimeException>unchecked(failure);
        }
    }

    /** A listener in another language throws checked exceptions undeclared: they are thrown on as they are. */
    @SuppressWarnings({"unchecked", "TypeParameterUnusedInFormals"})
    private static <E extends Throwable> E unchecked(Throwable failure) throws E {
        throw (E) failure;
    }

    /** The same after a run that succeeded before the listener threw; the text says what there is of it. */
    static void rethrow(@Nullable NativeOperation operation, String outcome) {
        rethrow(operation, new IllegalStateException(outcome));
    }

    /** Nothing may escape from here: an exception that leaves an upcall ends the JVM. */
    private static void dispatch(long bytesDone, long bytesTotal, int phase, MemorySegment context) {
        NativeOperation operation = null;
        try {
            operation = WATCHED.get(context.address());
            if (operation != null && operation.listener != null && operation.listenerFailure == null) {
                operation.listener.onProgress(bytesDone, bytesTotal, PhaseKind.of(phase));
            }
        } catch (Throwable failure) {
            if (operation != null) {
                operation.listenerFailure = failure;
                operation.cancel();
            }
        }
    }
}
