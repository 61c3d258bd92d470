// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * What the builders of checkpoint and restore requests have in common. For one thread at a time.
 *
 * @param <B> the builder itself
 */
public abstract sealed class RunRequestBuilder<B extends RunRequestBuilder<B>>
        permits CheckpointRequest.Builder, RestoreRequest.Builder {
    private final Path directory;
    private final Set<RunRequest.Flag> flags = EnumSet.noneOf(RunRequest.Flag.class);
    private final List<String> arguments = new ArrayList<>();
    private @Nullable Path workDirectory;
    private @Nullable String logFile;
    private @Nullable ProgressListener listener;
    private int logLevel;

    RunRequestBuilder(Path directory) {
        this.directory = Objects.requireNonNull(directory, "directory");
    }

    abstract B self();

    B flag(RunRequest.Flag flag, boolean value) {
        if (value) {
            flags.add(flag);
        } else {
            flags.remove(flag);
        }
        return self();
    }

    RunRequest buildRun() {
        return new RunRequest(
                directory, workDirectory, logFile, Set.copyOf(flags), logLevel, List.copyOf(arguments), listener);
    }

    /**
     * Allows a tree that is part of a terminal session.
     *
     * @param value whether to
     * @return this builder
     */
    public B shellJob(boolean value) {
        return flag(RunRequest.Flag.SHELL_JOB, value);
    }

    /**
     * Allows established TCP connections.
     *
     * @param value whether to
     * @return this builder
     */
    public B tcpEstablished(boolean value) {
        return flag(RunRequest.Flag.TCP_ESTABLISHED, value);
    }

    /**
     * Closes TCP connections instead of keeping them.
     *
     * @param value whether to
     * @return this builder
     */
    public B tcpClose(boolean value) {
        return flag(RunRequest.Flag.TCP_CLOSE, value);
    }

    /**
     * Handles file locks.
     *
     * @param value whether to
     * @return this builder
     */
    public B fileLocks(boolean value) {
        return flag(RunRequest.Flag.FILE_LOCKS, value);
    }

    /**
     * Allows links to be made for files that were deleted while open, named semaphores among them.
     *
     * @param value whether to
     * @return this builder
     */
    public B linkRemap(boolean value) {
        return flag(RunRequest.Flag.LINK_REMAP, value);
    }

    /**
     * Allows mounts that come from outside the tree's mount namespace.
     *
     * @param value whether to
     * @return this builder
     */
    public B externalMasters(boolean value) {
        return flag(RunRequest.Flag.EXTERNAL_MASTERS, value);
    }

    /**
     * Allows unix sockets whose other end is outside the tree.
     *
     * @param value whether to
     * @return this builder
     */
    public B externalUnixSockets(boolean value) {
        return flag(RunRequest.Flag.EXTERNAL_UNIX_SOCKETS, value);
    }

    /**
     * Where CRIU's log and the statistics go.
     *
     * @param workDirectory a folder that exists, a relative one in the handle's {@code imagesRoot}, as the images are; the
     *     images' own unless it is set
     * @return this builder
     */
    public B workDirectory(Path workDirectory) {
        this.workDirectory = Objects.requireNonNull(workDirectory, "workDirectory");
        return self();
    }

    /**
     * The name of CRIU's log in the work folder.
     *
     * @param logFile a file name, without a NUL character, and none of the checkpoint's own: a run refuses one that ends in
     *     {@code .img} or begins with {@code .}, {@code stats-} or {@code rekindle}
     * @return this builder
     */
    public B logFile(String logFile) {
        this.logFile = Objects.requireNonNull(logFile, "logFile");
        return self();
    }

    /**
     * How much CRIU logs.
     *
     * @param logLevel 1 (errors) to 4 (everything, the default)
     * @return this builder
     * @throws IllegalArgumentException where it is not 1 to 4
     */
    public B logLevel(int logLevel) {
        if (logLevel < 1 || logLevel > 4) {
            throw new IllegalArgumentException("log level " + logLevel + " is not 1 to 4");
        }
        this.logLevel = logLevel;
        return self();
    }

    /**
     * Adds an argument for {@code criu}, passed as it is. A run refuses those that the library gives itself, as
     * {@code --tree} or {@code --images-dir}. A checkpoint also refuses those that leave memory out of its folder:
     * {@code --page-server}, {@code --lazy-pages}, {@code --stream}.
     *
     * @param argument the argument, without a NUL character
     * @return this builder
     */
    public B argument(String argument) {
        arguments.add(Objects.requireNonNull(argument, "argument"));
        return self();
    }

    /**
     * Watches the run.
     *
     * @param listener who watches
     * @return this builder
     */
    public B progress(ProgressListener listener) {
        this.listener = Objects.requireNonNull(listener, "listener");
        return self();
    }
}
