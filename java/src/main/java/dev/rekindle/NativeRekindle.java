// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/** The handle: its settings, and its runs under way. */
final class NativeRekindle implements Rekindle {
    /** A machine that can do it does not lose that while a program runs; one that cannot may be mended. */
    private static volatile boolean available;

    private static final AtomicLong THREADS = new AtomicLong();

    private final NativeEnvironment environment;
    private final ImageRoot images;
    private final Runner runner;
    private final Executor executor;
    private final Set<NativeOperation> runs = ConcurrentHashMap.newKeySet();
    private volatile boolean closed;

    NativeRekindle(Builder builder) {
        NativeLibrary.load();
        environment = builder.environment();
        images = new ImageRoot(builder.imagesRoot);
        runner = new Runner(environment, images, new Observers(builder.observers));
        executor = builder.executor == null ? NativeRekindle::startThread : builder.executor;
    }

    @Override
    public Optional<RekindleException> check() {
        ensureOpen();
        return environment.check();
    }

    @Override
    public Path agent() {
        ensureOpen();
        return environment.part(RekindleNative.REKINDLE_PART_AGENT());
    }

    @Override
    public Path poolProgram() {
        ensureOpen();
        return environment.part(RekindleNative.REKINDLE_PART_POOL());
    }

    @Override
    public Path criuProgram() {
        ensureOpen();
        return environment.part(RekindleNative.REKINDLE_PART_CRIU());
    }

    @Override
    public Path pluginFolder() {
        ensureOpen();
        return environment.part(RekindleNative.REKINDLE_PART_PLUGIN());
    }

    @Override
    public List<Gpu> gpus() {
        ensureOpen();
        return Gpu.all(environment);
    }

    @Override
    public ProcessBuilder prepare(ProcessBuilder builder) {
        Objects.requireNonNull(builder, "builder");
        return Preparation.apply(builder, agent());
    }

    @Override
    public ProcessInspection inspect(CheckpointRequest request) {
        Objects.requireNonNull(request, "request");
        ensureOpen();
        return ProcessInspection.of(environment, request);
    }

    @Override
    public CheckpointResult checkpoint(CheckpointRequest request) {
        Objects.requireNonNull(request, "request");
        try (NativeOperation operation = begin(request.listener(), Failure.Action.CHECKPOINT)) {
            return runner.checkpoint(request, operation);
        }
    }

    @Override
    public Run<CheckpointResult> checkpointAsync(CheckpointRequest request) {
        Objects.requireNonNull(request, "request");
        var progress = new LatestProgress(request.listener());
        return NativeRun.start(
                executor,
                begin(progress, Failure.Action.CHECKPOINT),
                progress,
                Failure.Action.CHECKPOINT,
                operation -> runner.checkpoint(request, operation));
    }

    @Override
    public RestoredProcess restore(RestoreRequest request) {
        Objects.requireNonNull(request, "request");
        try (NativeOperation operation = begin(request.listener(), Failure.Action.RESTORE)) {
            return runner.restore(request, operation);
        }
    }

    @Override
    public Run<RestoredProcess> restoreAsync(RestoreRequest request) {
        Objects.requireNonNull(request, "request");
        var progress = new LatestProgress(request.listener());
        return NativeRun.start(
                executor,
                begin(progress, Failure.Action.RESTORE),
                progress,
                Failure.Action.RESTORE,
                operation -> runner.restore(request, operation));
    }

    @Override
    public WarmPool openPool() {
        ensureOpen();
        return NativePool.open(environment, true, images);
    }

    @Override
    public WarmPool connectPool() {
        ensureOpen();
        return NativePool.open(environment, false, images);
    }

    @Override
    public void close() {
        closed = true;
    }

    @Override
    public boolean close(Duration limit) throws InterruptedException {
        Objects.requireNonNull(limit, "limit");
        close();
        try {
            CompletableFuture.allOf(runs.stream().map(NativeOperation::end).toArray(CompletableFuture[]::new))
                    .get(TimeUnit.NANOSECONDS.convert(limit), TimeUnit.NANOSECONDS);
            return true;
        } catch (TimeoutException later) {
            return false;
        } catch (ExecutionException impossible) {
            throw new AssertionError("the end of a run is never a failure", impossible);
        }
    }

    static Optional<RekindleException> unavailabilityCause() {
        if (available) {
            return Optional.empty();
        }
        try {
            NativeLibrary.load();
        } catch (NativeLibraryException failure) {
            return Optional.of(failure);
        }
        Optional<RekindleException> cause = Rekindle.builder().environment().check();
        available = cause.isEmpty();
        return cause;
    }

    /** An operation for a run, which is one of this handle's until it is closed. */
    private NativeOperation begin(@Nullable ProgressListener listener, Failure.Action action) {
        ensureOpen();
        var operation = new NativeOperation(listener, action);
        runs.removeIf(earlier -> earlier.end().isDone());
        runs.add(operation);
        // Whoever closes meanwhile waits for those that it has seen.
        if (closed) {
            operation.close();
            ensureOpen();
        }
        return operation;
    }

    /** Not a daemon: a JVM that ends in the middle of a dump would leave a stopped tree behind. */
    private static void startThread(Runnable run) {
        Thread.ofPlatform().name("rekindle-" + THREADS.getAndIncrement()).start(run);
    }

    private void ensureOpen() {
        if (closed) {
            throw new IllegalStateException("this Rekindle handle is closed");
        }
    }
}
