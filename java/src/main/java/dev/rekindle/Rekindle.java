// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.Executor;
import org.jspecify.annotations.Nullable;

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
 * the {@link Run} of an {@code Async} one does.
 *
 * <p><b>Tests.</b> Other implementations than that of {@link #builder} are for tests; it may get further methods.
 *
 * <p><b>Closing.</b> Calls after {@link #close()} throw {@link IllegalStateException}. Runs that are under way go on to
 * their end, which {@link #close(Duration)} waits for. Pools and restored processes are independent of the handle that
 * made them.
 *
 * <p><b>The end of the JVM.</b> Runs that are under way then are cancelled, whether it ends by itself or by a signal such
 * as SIGINT and SIGTERM, and the JVM waits until that is done: the process that was being dumped runs as before, and of a
 * tree that was being restored nothing is left. No run begins from then on.
 */
public interface Rekindle extends AutoCloseable {
    /**
     * Says whether this machine can checkpoint and restore with the default settings. A missing GPU is no reason why not:
     * processes without CUDA can still be handled. CRIU is asked, which takes some milliseconds, until it can; that answer is
     * remembered. {@link #check} asks each time.
     *
     * @return whether it can
     */
    static boolean isAvailable() {
        return unavailabilityCause().isEmpty();
    }

    /**
     * Says why {@link #isAvailable} is false.
     *
     * @return what is missing, or nothing
     */
    static Optional<RekindleException> unavailabilityCause() {
        return NativeRekindle.unavailabilityCause();
    }

    /**
     * The version of the native library.
     *
     * @return major, minor and patch, as in {@code 1.2.3}
     * @throws NativeLibraryException where it cannot be loaded
     */
    static String nativeVersion() {
        NativeLibrary.load();
        return RekindleNative.rekindle_version().getString(0);
    }

    /**
     * The version of this Java library, which loads no native library of another major or minor version.
     *
     * @return major, minor and patch, as in {@code 1.2.3}
     */
    static String version() {
        return RekindleNative.REKINDLE_VERSION_MAJOR() + "." + RekindleNative.REKINDLE_VERSION_MINOR() + "."
                + RekindleNative.REKINDLE_VERSION_PATCH();
    }

    /**
     * A handle with the default settings.
     *
     * @return the handle
     * @throws NativeLibraryException where the native library cannot be loaded
     */
    static Rekindle create() {
        return new Builder().build();
    }

    /**
     * Begins a handle.
     *
     * @return a builder
     */
    static Builder builder() {
        return new Builder();
    }

    /**
     * Says whether this machine can checkpoint and restore with the settings of this handle.
     *
     * @return what is missing, or nothing
     * @throws IllegalStateException where this handle is closed
     */
    Optional<RekindleException> check();

    /**
     * The agent, for {@code LD_PRELOAD} of the programs that are to be checkpointed. Without it device memory travels
     * through the process image, which is slower; {@link #prepare} sets it.
     *
     * @return the absolute path of {@code librekindle-preload.so}
     * @throws RekindleException where it is not where this release has it
     * @throws IllegalStateException where this handle is closed
     */
    Path agent();

    /**
     * The pool program, which {@link #connectPool} reaches once it runs.
     *
     * @return the absolute path of {@code rekindled}
     * @throws RekindleException where it is not where this release or the settings have it
     * @throws IllegalStateException where this handle is closed
     */
    Path poolProgram();

    /**
     * The {@code criu} program that runs of this handle take.
     *
     * @return its absolute path
     * @throws RekindleException where there is none, or it is too old
     * @throws IllegalStateException where this handle is closed
     */
    Path criuProgram();

    /**
     * The folder of CRIU's plugin that runs of this handle take.
     *
     * @return the absolute path of the folder of {@code cuda_plugin.so}
     * @throws RekindleException where there is none
     * @throws IllegalStateException where this handle is closed
     */
    Path pluginFolder();

    /**
     * The GPUs of this machine, as a restore in this process would find them. The driver is started in this JVM, which takes
     * 0.2 seconds the first time where nobody else uses it; no context is made.
     *
     * @return one for each, in the order of their numbers; what is free changes
     * @throws IncompatibleException where there is no driver that can be used, or no GPU
     * @throws IllegalStateException where this handle is closed
     */
    List<Gpu> gpus();

    /**
     * Makes a program ready to be checkpointed, before it is started: with the agent, in a session of its own, and with
     * nothing open that a restore could not open again. Standard input, output and error that are not redirected from and
     * to files are {@code /dev/null}; so redirect them first. io_uring, which CRIU cannot dump, is off in it, and in a
     * program without CAP_SYS_ADMIN setuid programs are then too.
     *
     * @param builder what is to be started: its command, environment and redirections are changed
     * @return the builder
     * @throws RekindleException where the agent is not where this release has it
     * @throws IllegalArgumentException where the builder has no command
     * @throws IllegalStateException where this handle is closed
     */
    ProcessBuilder prepare(ProcessBuilder builder);

    /**
     * Says what a tree holds that a dump would meet, in milliseconds and without stopping any of it: its processes with
     * their CUDA and their agents, and every obstacle with its remedy. {@link #checkpoint} looks for the same obstacles, and
     * refuses with all of them at once.
     *
     * @param request the dump to come, whose options decide what is an obstacle
     * @return what is there
     * @throws RekindleException where the tree cannot be looked at, the same that {@link #checkpoint} throws then: of
     *     {@link ErrorCode#NO_SUCH_PROCESS} where there is none
     * @throws IllegalStateException where this handle is closed
     */
    ProcessInspection inspect(CheckpointRequest request);

    /**
     * Dumps a process tree. When it fails, the tree goes on running as it was, but for one failure that comes after the
     * checkpoint is complete: a process that was to be left running or stopped and did not get its GPU back. The message
     * says so, and the images stay.
     *
     * @param request what and how
     * @return sizes, modes and phases
     * @throws RekindleException where it failed
     * @throws HookException where a hook of the request threw
     * @throws IllegalArgumentException where a path, a name or an argument has a NUL character
     * @throws IllegalStateException where this handle is closed
     */
    CheckpointResult checkpoint(CheckpointRequest request);

    /**
     * Dumps a process tree on a thread of the handle's executor.
     *
     * @param request what and how
     * @return the run, which gives what {@link #checkpoint} returns or throws
     * @throws java.util.concurrent.RejectedExecutionException where the executor takes no more
     * @throws IllegalStateException where this handle is closed
     */
    Run<CheckpointResult> checkpointAsync(CheckpointRequest request);

    /**
     * Restores a process tree. When it fails, no process is left behind, and no image was changed.
     *
     * @param request what and how
     * @return the tree, running
     * @throws RekindleException where it failed
     * @throws HookException where a hook of the request threw
     * @throws IllegalArgumentException where a path, a name or an argument has a NUL character
     * @throws IllegalStateException where this handle is closed
     */
    RestoredProcess restore(RestoreRequest request);

    /**
     * Restores a process tree on a thread of the handle's executor.
     *
     * @param request what and how
     * @return the run, which gives what {@link #restore} returns or throws
     * @throws java.util.concurrent.RejectedExecutionException where the executor takes no more
     * @throws IllegalStateException where this handle is closed
     */
    Run<RestoredProcess> restoreAsync(RestoreRequest request);

    /**
     * Hosts a warm pool in this JVM, on the socket of this handle's settings. Blocks until it is warm.
     *
     * @return the pool, which lives until it is closed itself
     * @throws RekindleException where it cannot be opened
     * @throws IllegalStateException where this handle is closed
     */
    WarmPool openPool();

    /**
     * Connects to a running {@code rekindled}, at the socket of this handle's settings.
     *
     * @return the connection, which lives until it is closed itself
     * @throws RekindleException where it cannot be reached
     * @throws IllegalStateException where this handle is closed
     */
    WarmPool connectPool();

    /** Closes the handle. Runs under way go on to their end. Closing twice does nothing. */
    @Override
    void close();

    /**
     * Closes the handle, and waits for the end of its runs, those of {@link #checkpoint} and {@link #restore} on other
     * threads included. A run that is to end sooner has to be cancelled.
     *
     * @param limit how long it waits
     * @return whether all have ended; those that have not go on
     * @throws InterruptedException where the thread was interrupted while it waited; the handle is closed
     */
    boolean close(Duration limit) throws InterruptedException;

    /**
     * Builds a {@link Rekindle}. What is not set is as {@code /etc/rekindle.conf} and the environment say. For one
     * thread at a time.
     */
    final class Builder {
        @Nullable
        Path imagesRoot;

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

        @Nullable
        Executor executor;

        final List<RunObserver> observers = new ArrayList<>();

        private Builder() {}

        NativeEnvironment environment() {
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
         * The folder that relative folders are in: those of images and of work in requests, and those given to this
         * handle's pools.
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
         * @param criu its path; {@code $REKINDLE_CRIU}, then that of this release, then {@code criu} in
         *     {@code PATH}, unless it is set
         * @return this builder
         */
        public Builder criu(Path criu) {
            this.criu = Objects.requireNonNull(criu, "criu");
            return this;
        }

        /**
         * The folder of {@code cuda_plugin.so}.
         *
         * @param pluginDirectory a folder with nothing else; that of this release unless it is set
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
         * With how many threads CRIU restores the memory of a process, and writes it at a dump, where it can.
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
         * Who runs {@link Rekindle#checkpointAsync} and {@link Rekindle#restoreAsync}. It is not shut down with the handle.
         *
         * @param executor starts a platform thread for each run unless it is set; one of virtual threads does as well, and a
         *     run occupies the carrier of its thread
         * @return this builder
         */
        public Builder executor(Executor executor) {
            this.executor = Objects.requireNonNull(executor, "executor");
            return this;
        }

        /**
         * Adds one that is told of every checkpoint and restore of the handle. Java Flight Recorder is told anyway.
         *
         * @param observer who is told
         * @return this
         */
        public Builder observer(RunObserver observer) {
            observers.add(Objects.requireNonNull(observer, "observer"));
            return this;
        }

        /**
         * Makes the handle.
         *
         * @return the handle
         * @throws NativeLibraryException where the native library cannot be loaded
         */
        public Rekindle build() {
            return new NativeRekindle(this);
        }
    }
}
