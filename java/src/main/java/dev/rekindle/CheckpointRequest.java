// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * What to checkpoint, where to, and how. Immutable, so any threads may use it; made by {@link #of} or {@link #builder}.
 * The switches are CRIU's options of the same name.
 */
public final class CheckpointRequest {
    final int pid;
    final RunRequest run;
    final int timeoutSeconds;
    final Hooks<CheckpointResult> hooks;

    @Nullable
    final Park park;

    /** As it was given; null for none, or for what is configured. */
    @Nullable
    final Path parent;

    final boolean whole;

    private CheckpointRequest(Builder builder) {
        pid = builder.pid;
        run = builder.buildRun();
        timeoutSeconds = builder.timeoutSeconds;
        hooks = new Hooks<>(builder.before, builder.after, builder.failed);
        park = builder.park;
        parent = builder.parent;
        whole = builder.whole;
    }

    /**
     * A checkpoint with CRIU's defaults: the tree ends once it is dumped.
     *
     * @param pid root of the tree to dump
     * @param directory where its images go; made where it is missing
     * @return the request
     * @throws IllegalArgumentException where the pid is less than 2, no {@code int}, or this JVM's own
     */
    public static CheckpointRequest of(long pid, Path directory) {
        return builder(pid, directory).build();
    }

    /**
     * Begins a request.
     *
     * @param pid root of the tree to dump
     * @param directory where its images go; made where it is missing
     * @return a builder
     * @throws IllegalArgumentException where the pid is less than 2, no {@code int}, or this JVM's own
     */
    public static Builder builder(long pid, Path directory) {
        return new Builder(pid, directory);
    }

    /**
     * Begins a request.
     *
     * @param process root of the tree to dump
     * @param directory where its images go; made where it is missing
     * @return a builder
     * @throws IllegalArgumentException where the pid is less than 2, no {@code int}, or this JVM's own
     */
    public static Builder builder(ProcessHandle process, Path directory) {
        return new Builder(Objects.requireNonNull(process, "process").pid(), directory);
    }

    /**
     * The root of the tree to dump.
     *
     * @return its pid
     */
    public long pid() {
        return pid;
    }

    /**
     * Where the images go.
     *
     * @return the folder as it was given
     */
    public Path directory() {
        return run.directory();
    }

    /**
     * Two requests are equal where they say the same; hooks and listeners are compared by their own {@code equals}.
     *
     * @param other what to compare with
     * @return whether it is such a request
     */
    @Override
    public boolean equals(@Nullable Object other) {
        return other instanceof CheckpointRequest request
                && pid == request.pid
                && timeoutSeconds == request.timeoutSeconds
                && run.equals(request.run)
                && park == request.park
                && Objects.equals(parent, request.parent)
                && whole == request.whole
                && hooks.equals(request.hooks);
    }

    @Override
    public int hashCode() {
        return Objects.hash(pid, timeoutSeconds, run, park, parent, whole, hooks);
    }

    /** What the request says, without hooks and listener. */
    @Override
    public String toString() {
        var members = new ArrayList<String>();
        members.add("pid=" + pid);
        if (timeoutSeconds != 0) {
            members.add("timeout=" + Duration.ofSeconds(timeoutSeconds));
        }
        if (park != null) {
            members.add("park=" + park);
        }
        if (parent != null) {
            members.add("parent=" + parent);
        }
        if (whole) {
            members.add("whole=true");
        }
        return "CheckpointRequest" + run.describe(members.toArray(String[]::new));
    }

    /** Builds a {@link CheckpointRequest}. For one thread at a time. */
    public static final class Builder extends RunRequestBuilder<Builder> {
        private static final Duration TIMEOUT_MAX = Duration.ofSeconds(Integer.MAX_VALUE);

        private final int pid;
        private final List<Runnable> before = new ArrayList<>();
        private final List<Consumer<CheckpointResult>> after = new ArrayList<>();
        private final List<Runnable> failed = new ArrayList<>();
        private int timeoutSeconds;

        private @Nullable Park park;
        private @Nullable Path parent;
        private boolean whole;

        private Builder(long pid, Path directory) {
            super(directory);
            if (pid < 2 || pid > Integer.MAX_VALUE) {
                throw new IllegalArgumentException(pid + " is no pid that can be checkpointed");
            }
            if (pid == ProcessHandle.current().pid()) {
                throw new IllegalArgumentException("a JVM cannot checkpoint itself: pid " + pid + " is this one");
            }
            this.pid = (int) pid;
        }

        @Override
        Builder self() {
            return this;
        }

        /**
         * Lets the tree go on running after the dump.
         *
         * @param value whether to; not together with {@link #leaveStopped}
         * @return this builder
         */
        public Builder leaveRunning(boolean value) {
            return flag(RunRequest.Flag.LEAVE_RUNNING, value);
        }

        /**
         * Leaves the tree stopped after the dump.
         *
         * @param value whether to; not together with {@link #leaveRunning}
         * @return this builder
         */
        public Builder leaveStopped(boolean value) {
            return flag(RunRequest.Flag.LEAVE_STOPPED, value);
        }

        /**
         * How long CRIU may take to stop the tree.
         *
         * @param timeout the limit, rounded up to whole seconds; {@link Duration#ZERO} is CRIU's default of 10 seconds
         * @return this builder
         * @throws IllegalArgumentException where it is negative, or more than {@link Integer#MAX_VALUE} seconds
         */
        public Builder timeout(Duration timeout) {
            Objects.requireNonNull(timeout, "timeout");
            if (timeout.isNegative() || timeout.compareTo(TIMEOUT_MAX) > 0) {
                throw new IllegalArgumentException("timeout out of range: " + timeout);
            }
            timeoutSeconds = (int) timeout.plusSeconds(1).minusNanos(1).toSeconds();
            return this;
        }

        /**
         * Where device memory stays for the next restore from the folder. Without it that is as configured
         * ({@code REKINDLE_PARK}).
         *
         * @param where only {@link Park#FILE} together with {@link #leaveRunning} or {@link #leaveStopped}
         * @return this builder
         */
        public Builder park(Park where) {
            park = Objects.requireNonNull(where, "where");
            return this;
        }

        /**
         * Names another folder in which the image may lie that a process was restored from, or dumped into before; in the
         * folder of the checkpoint it is looked for in any case. What has not changed since then is linked, and not written
         * again; the image is complete all the same. Where the folder is not there, holds no such image, or is on another
         * file system, all is written. Without it, and without {@link #whole}, that is as configured
         * ({@code REKINDLE_PARENT}).
         *
         * @param folder where the older checkpoint is; a relative one in the handle's {@code imagesRoot}, as the images are
         * @return this builder
         */
        public Builder parent(Path folder) {
            parent = Objects.requireNonNull(folder, "folder");
            whole = false;
            return this;
        }

        /**
         * Writes all of the image, also what has not changed since an older one.
         *
         * @return this builder
         */
        public Builder whole() {
            parent = null;
            whole = true;
            return this;
        }

        /**
         * Adds something to do before the dump begins, on the thread of the call, in the order of adding. All are called;
         * where one throws, the dump does not begin, and the call throws a {@link HookException}.
         *
         * @param hook what to do
         * @return this builder
         */
        public Builder beforeCheckpoint(Runnable hook) {
            before.add(Objects.requireNonNull(hook, "hook"));
            return this;
        }

        /**
         * Adds something to do after a checkpoint that succeeded, on the thread of the call, in the order of adding. All are
         * called; where one throws, the call throws a {@link HookException}, which has the result.
         *
         * @param hook what to do with the result
         * @return this builder
         */
        public Builder afterCheckpoint(Consumer<CheckpointResult> hook) {
            after.add(Objects.requireNonNull(hook, "hook"));
            return this;
        }

        /**
         * Adds something to do after a checkpoint that did not succeed, or did not begin as a hook before it threw: the tree
         * goes on, so this is the place to take back what the hook before has done. On the thread of the call, in the order of
         * adding. All are called; the call throws why it failed, with what they throw as suppressed.
         *
         * @param hook what to do
         * @return this builder
         */
        public Builder afterFailedCheckpoint(Runnable hook) {
            failed.add(Objects.requireNonNull(hook, "hook"));
            return this;
        }

        /**
         * Makes the request.
         *
         * @return the request
         * @throws IllegalStateException where the tree is to be left running and stopped, or one of them and its memory is to
         *     be parked
         */
        public CheckpointRequest build() {
            var request = new CheckpointRequest(this);
            if (request.run.flags().containsAll(Set.of(RunRequest.Flag.LEAVE_RUNNING, RunRequest.Flag.LEAVE_STOPPED))) {
                throw new IllegalStateException("a tree is left running or stopped: leave out one of the two");
            }
            if (park != null
                    && park != Park.FILE
                    && (request.run.flags().contains(RunRequest.Flag.LEAVE_RUNNING)
                            || request.run.flags().contains(RunRequest.Flag.LEAVE_STOPPED))) {
                throw new IllegalStateException("a tree that is left running or stopped keeps its device memory");
            }
            return request;
        }
    }

    @Nullable
    ProgressListener listener() {
        return run.listener();
    }
}
