// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** What checkpoint and restore requests have in common. */
record RunRequest(
        Path directory,
        @Nullable Path workDirectory,
        @Nullable String logFile,
        int flags,
        int logLevel,
        List<String> arguments,
        @Nullable ProgressListener listener) {

    enum Flag {
        LEAVE_RUNNING(RekindleNative.REKINDLE_LEAVE_RUNNING()),
        LEAVE_STOPPED(RekindleNative.REKINDLE_LEAVE_STOPPED()),
        SHELL_JOB(RekindleNative.REKINDLE_SHELL_JOB()),
        TCP_ESTABLISHED(RekindleNative.REKINDLE_TCP_ESTABLISHED()),
        TCP_CLOSE(RekindleNative.REKINDLE_TCP_CLOSE()),
        FILE_LOCKS(RekindleNative.REKINDLE_FILE_LOCKS()),
        LINK_REMAP(RekindleNative.REKINDLE_LINK_REMAP()),
        EXTERNAL_MASTERS(RekindleNative.REKINDLE_EXTERNAL_MASTERS()),
        EXTERNAL_UNIX_SOCKETS(RekindleNative.REKINDLE_EXTERNAL_UNIX_SOCKETS());

        private final int bit;

        Flag(int bit) {
            this.bit = bit;
        }

        int set(int flags, boolean value) {
            return value ? flags | bit : flags & ~bit;
        }
    }

    /** Where logs and statistics go. */
    Path workDirectoryIn(Path images) {
        return workDirectory == null ? images : workDirectory;
    }
}
