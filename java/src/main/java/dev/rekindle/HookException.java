// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * A hook of a request threw. All hooks were called nevertheless: the cause is what the first one threw, and what others threw
 * is suppressed in it. What there is of the run is here, as the call did not return it. What it adds to a {@link Throwable} is
 * immutable, so any threads may use it.
 */
public final class HookException extends RuntimeException {
    private static final long serialVersionUID = 1;

    private final transient @Nullable CheckpointResult checkpoint;
    private final transient @Nullable RestoredProcess process;

    HookException(
            String message, Throwable cause, @Nullable CheckpointResult checkpoint, @Nullable RestoredProcess process) {
        super(message + ": a hook threw " + cause, cause);
        this.checkpoint = checkpoint;
        this.process = process;
    }

    /**
     * The checkpoint that is complete.
     *
     * @return it, where a hook after a checkpoint threw
     */
    public Optional<CheckpointResult> checkpoint() {
        return Optional.ofNullable(checkpoint);
    }

    /**
     * The restored tree, which runs.
     *
     * @return it, where a hook after a restore threw
     */
    public Optional<RestoredProcess> process() {
        return Optional.ofNullable(process);
    }
}
