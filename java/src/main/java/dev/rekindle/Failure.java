// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.rekindle_error;
import java.lang.foreign.MemorySegment;

/** What {@code struct rekindle_error} says, and which exception it becomes. */
record Failure(ErrorCode code, PhaseKind phase, String message, String criuLog) {
    /** What was tried: it decides the exception where the code alone does not. */
    enum Action {
        CHECKPOINT,
        RESTORE,
        POOL,
        IMAGE,
        CHECK
    }

    static Failure of(ErrorCode code, String message) {
        return new Failure(code, PhaseKind.NONE, message, "");
    }

    static RekindleException exception(Action action, int code, MemorySegment error) {
        String message = rekindle_error.message(error).getString(0);
        if (message.isEmpty()) {
            message = "the native library returned code " + code + " without a message";
        }
        return new Failure(
                        ErrorCode.of(code),
                        PhaseKind.of(rekindle_error.phase(error)),
                        message,
                        rekindle_error.criu_log(error).getString(0))
                .exception(action);
    }

    RekindleException exception(Action action) {
        return switch (code) {
            case PERMISSION -> new PermissionException(this);
            case INCOMPATIBLE, NO_DRIVER, CRIU_NOT_FOUND -> new IncompatibleException(this);
            case CORRUPT_IMAGE -> new CorruptImageException(this);
            case NO_IMAGE -> new NoImageException(this);
            case BUSY -> new BusyException(this);
            case PID_IN_USE -> new PidInUseException(this);
            default ->
                switch (action) {
                    case CHECKPOINT -> new CheckpointException(this);
                    case RESTORE -> new RestoreException(this);
                    case POOL -> new PoolException(this);
                    case IMAGE -> new NoImageException(this);
                    case CHECK -> new IncompatibleException(this);
                };
        };
    }
}
