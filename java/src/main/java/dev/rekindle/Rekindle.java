// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import dev.rekindle.internal.ffi.rekindle_checkpoint_request;
import dev.rekindle.internal.ffi.rekindle_restore_request;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Checkpoints and restores process trees with CRIU, device memory included.
 *
 * <pre>{@code
 * try (Rekindle rekindle = Rekindle.create()) {
 *     rekindle.checkpoint(CheckpointRequest.of(pid, directory));
 *     RestoredProcess process = rekindle.restore(RestoreRequest.of(directory));
 * }
 * }</pre>
 *
 * <p><b>Threads.</b> All methods may be called from any threads at once; runs of different trees go on side by side. A
 * call blocks its thread, and a virtual thread's carrier, until the run is over; interrupting does not end it, cancelling
 * an {@code Async} one does.
 *
 * <p><b>Closing.</b> Calls after {@link #close} throw {@link IllegalStateException}. Runs that are under way go on to
 * their end. Pools and restored processes are independent of the handle that made them.
 */
public final class Rekindle implements AutoCloseable {
    private static final Logger LOGGER = LoggerFactory.getLogger(Rekindle.class);

    private final NativeEnvironment environment;
    private final @Nullable Path imagesRoot;
    private final ExecutorService executor;
    private volatile boolean closed;

    private Rekindle(Builder builder) {
        NativeLibrary.load();
        environment = builder.environment();
        imagesRoot = builder.imagesRoot;
        // Not daemons: a JVM that ends in the middle of a dump would leave a stopped tree behind.
        executor = Executors.newThreadPerTaskExecutor(
                Thread.ofPlatform().name("rekindle-", 0).factory());
    }

    /**
     * Says whether this machine can checkpoint and restore with the default settings. A missing GPU is no reason why not:
     * processes without CUDA can still be handled.
     *
     * @return whether it can
     */
    public static boolean isAvailable() {
        return unavailabilityCause().isEmpty();
    }

    /**
     * Says why {@link #isAvailable} is false.
     *
     * @return what is missing, or nothing
     */
    public static Optional<RekindleException> unavailabilityCause() {
        try {
            NativeLibrary.load();
        } catch (NativeLibraryException failure) {
            return Optional.of(failure);
        }
        return new Builder().environment().check();
    }

    /**
     * The version of the native library.
     *
     * @return major, minor and patch, as in {@code 1.2.3}
     * @throws NativeLibraryException where it cannot be loaded
     */
    public static String nativeVersion() {
        NativeLibrary.load();
        return RekindleNative.rekindle_version().getString(0);
    }

    /**
     * A handle with the default settings.
     *
     * @return the handle
     * @throws NativeLibraryException where the native library cannot be loaded
     */
    public static Rekindle create() {
        return new Builder().build();
    }

    /**
     * Begins a handle.
     *
     * @return a builder
     */
    public static Builder builder() {
        return new Builder();
    }

    /**
     * Says whether this machine can checkpoint and restore with the settings of this handle.
     *
     * @return what is missing, or nothing
     * @throws IllegalStateException where this handle is closed
     */
    public Optional<RekindleException> check() {
        ensureOpen();
        return environment.check();
    }

    /**
     * Dumps a process tree. When it fails, the tree goes on running as it was, but for one failure that comes after the
     * checkpoint is complete: a process that was to be left running or stopped and did not get its GPU back. The message
     * says so, and the images stay.
     *
     * @param request what and how
     * @return sizes, modes and phases
     * @throws RekindleException where it failed
     * @throws IllegalArgumentException where a path, a name or an argument has a NUL character
     * @throws IllegalStateException where this handle is closed
     */
    public CheckpointResult checkpoint(CheckpointRequest request) {
        Objects.requireNonNull(request, "request");
        ensureOpen();
        try (NativeOperation operation = NativeOperation.watching(request.listener())) {
            return checkpoint(request, operation);
        }
    }

    /**
     * Dumps a process tree on a thread of its own. Cancelling the future cancels the dump, and the tree goes on running;
     * a dump that was complete by then keeps its images.
     *
     * @param request what and how
     * @return a future of what {@link #checkpoint} returns or throws
     * @throws IllegalStateException where this handle is closed
     */
    public CompletableFuture<CheckpointResult> checkpointAsync(CheckpointRequest request) {
        Objects.requireNonNull(request, "request");
        ensureOpen();
        return RunFuture.start(executor, request.listener(), operation -> checkpoint(request, operation), result -> {});
    }

    /**
     * Restores a process tree. When it fails, no process is left behind, and the image stays whole.
     *
     * @param request what and how
     * @return the tree, running
     * @throws RekindleException where it failed
     * @throws IllegalArgumentException where a path, a name or an argument has a NUL character
     * @throws IllegalStateException where this handle is closed
     */
    public RestoredProcess restore(RestoreRequest request) {
        Objects.requireNonNull(request, "request");
        ensureOpen();
        try (NativeOperation operation = NativeOperation.watching(request.listener())) {
            return restore(request, operation);
        }
    }

    /**
     * Restores a process tree on a thread of its own. Cancelling the future cancels the restore; a tree that was restored
     * by then is ended.
     *
     * @param request what and how
     * @return a future of what {@link #restore} returns or throws
     * @throws IllegalStateException where this handle is closed
     */
    public CompletableFuture<RestoredProcess> restoreAsync(RestoreRequest request) {
        Objects.requireNonNull(request, "request");
        ensureOpen();
        return RunFuture.start(
                executor, request.listener(), operation -> restore(request, operation), RestoredProcess::kill);
    }

    /**
     * Hosts a warm pool in this JVM, on the socket of this handle's settings. Blocks until it is warm.
     *
     * @return the pool, which lives until it is closed itself
     * @throws RekindleException where it cannot be opened
     * @throws IllegalStateException where this handle is closed
     */
    public WarmPool openPool() {
        ensureOpen();
        return WarmPool.open(environment, true, imagesRoot);
    }

    /**
     * Connects to a running {@code rekindled}, at the socket of this handle's settings.
     *
     * @return the connection, which lives until it is closed itself
     * @throws RekindleException where it cannot be reached
     * @throws IllegalStateException where this handle is closed
     */
    public WarmPool connectPool() {
        ensureOpen();
        return WarmPool.open(environment, false, imagesRoot);
    }

    /** Closes the handle. Runs under way go on to their end. Closing twice does nothing. */
    @Override
    public void close() {
        closed = true;
        executor.shutdown();
    }

    private void ensureOpen() {
        if (closed) {
            throw new IllegalStateException("this Rekindle handle is closed");
        }
    }

    private Path images(Path directory) {
        return images(imagesRoot, directory);
    }

    static Path images(@Nullable Path imagesRoot, Path directory) {
        return (imagesRoot == null ? directory : imagesRoot.resolve(directory)).toAbsolutePath();
    }

    private CheckpointResult checkpoint(CheckpointRequest request, @Nullable NativeOperation operation) {
        request.hooks.forEach(Runnable::run);
        Path images = images(request.directory());
        RunStatistics statistics;
        var event = new RunEvents.Checkpoint();
        event.begin();
        try {
            statistics = dump(request, images, operation);
        } catch (RekindleException failure) {
            event.fail(request.pid, images, failure);
            NativeOperation.rethrow(operation, failure);
            throw failure;
        }
        event.finish(request.pid, images, statistics);
        RunEvents.Copy.commitAll(statistics);
        LOGGER.debug("checkpoint of {} to {}: {}", request.pid, images, statistics);
        // Here, where no catch above takes it for a failure of the dump.
        NativeOperation.rethrow(operation, "the checkpoint in " + images + " is complete");
        return new CheckpointResult(request.pid, images, statistics);
    }

    private RunStatistics dump(CheckpointRequest request, Path images, @Nullable NativeOperation operation) {
        try (NativeCall call = NativeCall.begin()) {
            MemorySegment struct = call.zeroed(rekindle_checkpoint_request.layout());
            rekindle_checkpoint_request.structure_size(struct, (int) struct.byteSize());
            rekindle_checkpoint_request.pid(struct, request.pid);
            rekindle_checkpoint_request.directory(struct, call.path(images));
            rekindle_checkpoint_request.work_directory(struct, call.path(request.run.workDirectory()));
            rekindle_checkpoint_request.log_file(struct, call.string(request.run.logFile()));
            rekindle_checkpoint_request.flags(struct, request.run.flagBits());
            rekindle_checkpoint_request.log_level(struct, request.run.logLevel());
            rekindle_checkpoint_request.timeout_seconds(struct, request.timeoutSeconds);
            rekindle_checkpoint_request.argument_count(
                    struct, request.run.arguments().size());
            rekindle_checkpoint_request.arguments(struct, call.strings(request.run.arguments()));
            rekindle_checkpoint_request.operation(struct, NativeOperation.address(operation));
            NativeStatistics statistics = NativeStatistics.allocate(call, NativeStatistics.CAPACITY);
            int code = RekindleNative.rekindle_checkpoint(
                    environment.write(call),
                    struct,
                    statistics.run(),
                    statistics.processes(),
                    statistics.capacity(),
                    call.error());
            if (code != RekindleNative.REKINDLE_OK()) {
                throw Failure.exception(Failure.Action.CHECKPOINT, code, call.error());
            }
            return statistics.decodeOrRead(request.run.workDirectoryIn(images), RunKind.CHECKPOINT);
        }
    }

    private RestoredProcess restore(RestoreRequest request, @Nullable NativeOperation operation) {
        Path images = images(request.directory());
        RestoredProcess process;
        var event = new RunEvents.Restore();
        event.begin();
        try {
            process = revive(request, images, operation);
        } catch (RekindleException failure) {
            event.fail(0, images, failure);
            NativeOperation.rethrow(operation, failure);
            throw failure;
        }
        event.finish(process.pid(), images, process.statistics());
        RunEvents.Copy.commitAll(process.statistics());
        LOGGER.debug("restore of {} from {}: {}", process.pid(), images, process.statistics());
        if (NativeOperation.listenerFailed(operation)) {
            // The listener threw at the very end. What it asked for is that there is no such run.
            process.kill();
            NativeOperation.rethrow(operation, "the restored process " + process.pid() + " was ended");
        }
        request.hooks.forEach(hook -> hook.accept(process));
        return process;
    }

    private RestoredProcess revive(RestoreRequest request, Path images, @Nullable NativeOperation operation) {
        try (NativeCall call = NativeCall.begin()) {
            MemorySegment struct = call.zeroed(rekindle_restore_request.layout());
            rekindle_restore_request.structure_size(struct, (int) struct.byteSize());
            rekindle_restore_request.directory(struct, call.path(images));
            rekindle_restore_request.work_directory(struct, call.path(request.run.workDirectory()));
            rekindle_restore_request.log_file(struct, call.string(request.run.logFile()));
            rekindle_restore_request.flags(struct, request.run.flagBits());
            rekindle_restore_request.log_level(struct, request.run.logLevel());
            rekindle_restore_request.argument_count(
                    struct, request.run.arguments().size());
            rekindle_restore_request.arguments(struct, call.strings(request.run.arguments()));
            rekindle_restore_request.operation(struct, NativeOperation.address(operation));
            NativeStatistics statistics = NativeStatistics.allocate(call, NativeStatistics.CAPACITY);
            MemorySegment pid = call.allocate(ValueLayout.JAVA_INT);
            int code = RekindleNative.rekindle_restore(
                    environment.write(call),
                    struct,
                    pid,
                    statistics.run(),
                    statistics.processes(),
                    statistics.capacity(),
                    call.error());
            if (code != RekindleNative.REKINDLE_OK()) {
                throw Failure.exception(Failure.Action.RESTORE, code, call.error());
            }
            int root = pid.get(ValueLayout.JAVA_INT, 0);
            Optional<ProcessHandle> handle = ProcessHandle.of(root);
            return new RestoredProcess(
                    root, statistics.decodeOrRead(request.run.workDirectoryIn(images), RunKind.RESTORE), handle);
        }
    }

    /**
     * Builds a {@link Rekindle}. What is not set is as {@code /etc/rekindle.conf} and the environment say. For one
     * thread at a time.
     */
    public static final class Builder {
        private @Nullable Path imagesRoot;
        private @Nullable Path criu;
        private @Nullable Path pluginDirectory;
        private @Nullable Path poolSocket;
        private @Nullable Path cudaDriver;
        private @Nullable Path configuration;
        private int contextPool = NativeEnvironment.AS_CONFIGURED;
        private int parallelRestore = NativeEnvironment.AS_CONFIGURED;
        private int checksums = NativeEnvironment.AS_CONFIGURED;
        private int streams;
        private int restoreThreads;
        private HugePages hugePages = HugePages.DEFAULT;

        private Builder() {}

        private NativeEnvironment environment() {
            return new NativeEnvironment(
                    criu,
                    pluginDirectory,
                    poolSocket,
                    cudaDriver,
                    configuration,
                    contextPool,
                    parallelRestore,
                    checksums,
                    streams,
                    restoreThreads,
                    hugePages);
        }

        /**
         * The folder that relative image folders are in: those of requests, and those given to this handle's pools.
         *
         * @param imagesRoot a folder; the working folder of the JVM unless it is set
         * @return this builder
         */
        public Builder imagesRoot(Path imagesRoot) {
            this.imagesRoot = Objects.requireNonNull(imagesRoot, "imagesRoot");
            return this;
        }

        /**
         * The {@code criu} program.
         *
         * @param criu its path; {@code $REKINDLE_CRIU}, then {@code criu} in {@code PATH}, unless it is set
         * @return this builder
         */
        public Builder criu(Path criu) {
            this.criu = Objects.requireNonNull(criu, "criu");
            return this;
        }

        /**
         * The folder of {@code cuda_plugin.so}.
         *
         * @param pluginDirectory a folder with nothing else; beside the native library unless it is set
         * @return this builder
         */
        public Builder pluginDirectory(Path pluginDirectory) {
            this.pluginDirectory = Objects.requireNonNull(pluginDirectory, "pluginDirectory");
            return this;
        }

        /**
         * The socket of the warm pool, for runs and for pools.
         *
         * @param poolSocket its path
         * @return this builder
         */
        public Builder poolSocket(Path poolSocket) {
            this.poolSocket = Objects.requireNonNull(poolSocket, "poolSocket");
            return this;
        }

        /**
         * The CUDA driver library.
         *
         * @param cudaDriver its path; the system's unless it is set
         * @return this builder
         */
        public Builder cudaDriver(Path cudaDriver) {
            this.cudaDriver = Objects.requireNonNull(cudaDriver, "cudaDriver");
            return this;
        }

        /**
         * The configuration file.
         *
         * @param configuration its path; {@code /etc/rekindle.conf} unless it is set
         * @return this builder
         */
        public Builder configuration(Path configuration) {
            this.configuration = Objects.requireNonNull(configuration, "configuration");
            return this;
        }

        /**
         * Whether a pool that a run had to start stays for the runs to come.
         *
         * @param value whether it stays
         * @return this builder
         */
        public Builder contextPool(boolean value) {
            contextPool = value ? 1 : 0;
            return this;
        }

        /**
         * Whether device memory is filled by several workers, beside CRIU's own work.
         *
         * @param value whether it is
         * @return this builder
         */
        public Builder parallelRestore(boolean value) {
            parallelRestore = value ? 1 : 0;
            return this;
        }

        /**
         * Whether a restore verifies the checksums of GPU images.
         *
         * @param value whether it does
         * @return this builder
         */
        public Builder checksums(boolean value) {
            checksums = value ? 1 : 0;
            return this;
        }

        /**
         * How many workers copy device memory.
         *
         * @param streams 1 to 64
         * @return this builder
         * @throws IllegalArgumentException where it is not 1 to 64
         */
        public Builder streams(int streams) {
            if (streams < 1 || streams > 64) {
                throw new IllegalArgumentException(streams + " streams are not 1 to 64");
            }
            this.streams = streams;
            return this;
        }

        /**
         * With how many threads CRIU restores the memory of a process, where it can.
         *
         * @param threads 1 to 1024; 0 is automatic (the default), -1 is CRIU's own way
         * @return this builder
         * @throws IllegalArgumentException where it is not -1 to 1024
         */
        public Builder restoreThreads(int threads) {
            if (threads < -1 || threads > 1024) {
                throw new IllegalArgumentException(threads + " restore threads are not -1 to 1024");
            }
            restoreThreads = threads;
            return this;
        }

        /**
         * How CRIU uses huge pages for restored memory, where it can.
         *
         * @param hugePages how
         * @return this builder
         */
        public Builder hugePages(HugePages hugePages) {
            this.hugePages = Objects.requireNonNull(hugePages, "hugePages");
            return this;
        }

        /**
         * Makes the handle.
         *
         * @return the handle
         * @throws NativeLibraryException where the native library cannot be loaded
         */
        public Rekindle build() {
            return new Rekindle(this);
        }
    }
}
