// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Something failed in a way that {@link #code()}, {@link #phase()} and one sentence describe. The message says what to
 * do about it. What it adds to a {@link Throwable} is immutable, so any threads may use it.
 */
public abstract sealed class RekindleException extends RuntimeException
        permits BusyException,
                CheckpointException,
                CorruptImageException,
                IncompatibleException,
                NativeLibraryException,
                NoImageException,
                PermissionException,
                PidInUseException,
                PoolException,
                RestoreException {
    private static final long serialVersionUID = 1;

    private final ErrorCode code;
    private final PhaseKind phase;
    private final String criuLog;

    RekindleException(Failure failure, @Nullable Throwable cause) {
        super(failure.message(), cause);
        this.code = failure.code();
        this.phase = failure.phase();
        this.criuLog = failure.criuLog();
    }

    /**
     * Says in one sentence what went wrong, and what to do about it.
     *
     * @return the sentence
     */
    @Override
    public String getMessage() {
        return Objects.requireNonNullElse(super.getMessage(), "");
    }

    /**
     * Says what kind of thing went wrong.
     *
     * @return the code
     */
    public ErrorCode code() {
        return code;
    }

    /**
     * Says in which phase it went wrong.
     *
     * @return the phase, {@link PhaseKind#NONE} where it is not known
     */
    public PhaseKind phase() {
        return phase;
    }

    /**
     * Returns the last error lines of CRIU's log.
     *
     * @return the lines, or an empty string where CRIU did not run or logged no error
     */
    public String criuLog() {
        return criuLog;
    }

    /**
     * The message and, for stack traces in logs, the lines of CRIU's log below it.
     *
     * @return several lines where there is a log
     */
    @Override
    @SuppressWarnings("OverrideThrowableToString") // the message stays one sentence
    public String toString() {
        return criuLog.isEmpty()
                ? super.toString()
                : super.toString() + "\n" + criuLog.stripTrailing().indent(4).stripTrailing();
    }
}
