// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * What to restore and how. Immutable, so any threads may use it; made by {@link #of} or {@link #builder}. The switches
 * are CRIU's options of the same name; those that a checkpoint needed, its restore needs too.
 */
public final class RestoreRequest {
    final RunRequest run;
    final Hooks<RestoredProcess> hooks;

    @Nullable
    final String deviceMap;

    private RestoreRequest(Builder builder) {
        run = builder.buildRun();
        hooks = new Hooks<>(builder.before, builder.after, builder.failed);
        deviceMap = builder.deviceMap;
    }

    /**
     * A restore with CRIU's defaults.
     *
     * @param directory where the images are
     * @return the request
     */
    public static RestoreRequest of(Path directory) {
        return builder(directory).build();
    }

    /**
     * Begins a request.
     *
     * @param directory where the images are
     * @return a builder
     */
    public static Builder builder(Path directory) {
        return new Builder(directory);
    }

    /**
     * Where the images are.
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
        return other instanceof RestoreRequest request
                && run.equals(request.run)
                && Objects.equals(deviceMap, request.deviceMap)
                && hooks.equals(request.hooks);
    }

    @Override
    public int hashCode() {
        return Objects.hash(run, deviceMap, hooks);
    }

    /** What the request says, without hooks and listener. */
    @Override
    public String toString() {
        return "RestoreRequest" + (deviceMap == null ? run.describe() : run.describe("deviceMap=" + deviceMap));
    }

    /** Builds a {@link RestoreRequest}. For one thread at a time. */
    public static final class Builder extends RunRequestBuilder<Builder> {
        private final List<Runnable> before = new ArrayList<>();
        private final List<Consumer<RestoredProcess>> after = new ArrayList<>();
        private final List<Runnable> failed = new ArrayList<>();

        private @Nullable String deviceMap;

        private Builder(Path directory) {
            super(directory);
        }

        @Override
        Builder self() {
            return this;
        }

        /**
         * Adds something to do before the restore begins, on the thread of the call, in the order of adding. All are called;
         * where one throws, the restore does not begin, and the call throws a {@link HookException}.
         *
         * @param hook what to do
         * @return this builder
         */
        public Builder beforeRestore(Runnable hook) {
            before.add(Objects.requireNonNull(hook, "hook"));
            return this;
        }

        /**
         * Adds something to do with the restored process, on the thread of the call, in the order of adding. All are called;
         * where one throws, the process goes on running, and the call throws a {@link HookException}, which has it.
         *
         * @param hook what to do
         * @return this builder
         */
        public Builder afterRestore(Consumer<RestoredProcess> hook) {
            after.add(Objects.requireNonNull(hook, "hook"));
            return this;
        }

        /**
         * Adds something to do after a restore that did not succeed, or did not begin as a hook before it threw. On the thread
         * of the call, in the order of adding. All are called; the call throws why it failed, with what they throw as
         * suppressed.
         *
         * @param hook what to do
         * @return this builder
         */
        public Builder afterFailedRestore(Runnable hook) {
            failed.add(Objects.requireNonNull(hook, "hook"));
            return this;
        }

        /**
         * Chooses the GPUs that the restore takes, instead of what {@code REKINDLE_DEVICE_MAP} says. What cannot be met
         * is refused before a process is made: a GPU that is not there with a {@link RestoreException}, another model
         * with an {@link IncompatibleException}, and one without room with a sentence that says how much is free and how
         * much is needed.
         *
         * @param map {@code OLD=NEW,...}, each a number or a UUID as {@code nvidia-smi -L} prints it; {@code NEW} for a
         *     tree whose memory lies on one GPU; {@code auto} for the same numbers whatever their UUIDs; empty for those
         *     of the dump, or equal ones where these are gone or full
         * @return this builder
         */
        public Builder deviceMap(String map) {
            deviceMap = Objects.requireNonNull(map, "map");
            return this;
        }

        /**
         * Makes the request.
         *
         * @return the request
         */
        public RestoreRequest build() {
            return new RestoreRequest(this);
        }
    }

    @Nullable
    ProgressListener listener() {
        return run.listener();
    }
}
