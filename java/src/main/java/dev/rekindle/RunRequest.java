// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/** What checkpoint and restore requests have in common. */
record RunRequest(
        Path directory,
        @Nullable Path workDirectory,
        @Nullable String logFile,
        Set<Flag> flags,
        int logLevel,
        List<String> arguments,
        @Nullable ProgressListener listener) {

    enum Flag {
        LEAVE_RUNNING,
        LEAVE_STOPPED,
        SHELL_JOB,
        TCP_ESTABLISHED,
        TCP_CLOSE,
        FILE_LOCKS,
        LINK_REMAP,
        EXTERNAL_MASTERS,
        EXTERNAL_UNIX_SOCKETS;

        /** Not a field: a request can be made where native access is denied. */
        private int bit() {
            return switch (this) {
                case LEAVE_RUNNING -> RekindleNative.REKINDLE_LEAVE_RUNNING();
                case LEAVE_STOPPED -> RekindleNative.REKINDLE_LEAVE_STOPPED();
                case SHELL_JOB -> RekindleNative.REKINDLE_SHELL_JOB();
                case TCP_ESTABLISHED -> RekindleNative.REKINDLE_TCP_ESTABLISHED();
                case TCP_CLOSE -> RekindleNative.REKINDLE_TCP_CLOSE();
                case FILE_LOCKS -> RekindleNative.REKINDLE_FILE_LOCKS();
                case LINK_REMAP -> RekindleNative.REKINDLE_LINK_REMAP();
                case EXTERNAL_MASTERS -> RekindleNative.REKINDLE_EXTERNAL_MASTERS();
                case EXTERNAL_UNIX_SOCKETS -> RekindleNative.REKINDLE_EXTERNAL_UNIX_SOCKETS();
            };
        }
    }

    int flagBits() {
        return flags.stream().mapToInt(Flag::bit).sum();
    }

    /** What a request says of itself: what it was told, in the order of its builder. */
    String describe(String... more) {
        var parts = new ArrayList<String>(Arrays.asList(more));
        parts.add("directory=" + directory);
        if (workDirectory != null) {
            parts.add("workDirectory=" + workDirectory);
        }
        if (logFile != null) {
            parts.add("logFile=" + logFile);
        }
        if (!flags.isEmpty()) {
            parts.add("flags=" + new TreeSet<>(flags));
        }
        if (logLevel != 0) {
            parts.add("logLevel=" + logLevel);
        }
        if (!arguments.isEmpty()) {
            parts.add("arguments=" + arguments);
        }
        return "[" + String.join(", ", parts) + "]";
    }
}
