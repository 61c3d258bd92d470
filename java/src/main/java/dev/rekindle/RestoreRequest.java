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
    final List<Consumer<RestoredProcess>> hooks;

    private RestoreRequest(Builder builder) {
        run = builder.buildRun();
        hooks = List.copyOf(builder.hooks);
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

    /** Builds a {@link RestoreRequest}. For one thread at a time. */
    public static final class Builder extends RunRequestBuilder<Builder> {
        private final List<Consumer<RestoredProcess>> hooks = new ArrayList<>();

        private Builder(Path directory) {
            super(directory);
        }

        @Override
        Builder self() {
            return this;
        }

        /**
         * Adds something to do with the restored process, on the thread of the call, in the order of adding. What it
         * throws the call throws, and the process goes on running.
         *
         * @param hook what to do
         * @return this builder
         */
        public Builder afterRestore(Consumer<RestoredProcess> hook) {
            hooks.add(Objects.requireNonNull(hook, "hook"));
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
