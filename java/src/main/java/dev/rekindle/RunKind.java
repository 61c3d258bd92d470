// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;

/** What a run did. */
public enum RunKind {
    /** It dumped a process tree. */
    CHECKPOINT,
    /** It restored one. */
    RESTORE;

    static RunKind of(int kind) {
        return kind == RekindleNative.REKINDLE_RUN_RESTORE() ? RESTORE : CHECKPOINT;
    }

    int code() {
        return this == RESTORE ? RekindleNative.REKINDLE_RUN_RESTORE() : RekindleNative.REKINDLE_RUN_CHECKPOINT();
    }
}
