// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import java.util.Map;

/** What can be in the way of a dump. */
public enum ObstacleKind {
    /** An io_uring, which CRIU cannot dump. */
    IO_URING,
    /** Another process traces it. */
    TRACER,
    /** A deleted file that is bigger than CRIU carries. */
    GHOST_FILE,
    /** TCP connections, and no option that allows them. */
    CONNECTION,
    /** A file whose name is gone though it has another, as named semaphores are. */
    LINKED_FILE,
    /** A file of a mount namespace that no process of the tree has. */
    OTHER_MOUNTS,
    /** Device memory of another process. */
    IMPORTED_MEMORY,
    /** Device memory is not in place since an earlier run failed. */
    RELEASED_MEMORY,
    /** The agent of a restored process, which cannot do without, cannot be reached. */
    LOST_AGENT,
    /** It is a client of the multi-process service. */
    MPS,
    /** A SIGSTOP has stopped it, and it uses CUDA. */
    STOPPED,
    /** Another program has checkpointed the CUDA of a restored process. */
    SUSPENDED,
    /** It leads no session, as a job of a shell, and no option that allows that. */
    SESSION,
    /** A terminal that a program outside of the tree holds. */
    TERMINAL,
    /** A lock on a file, and no option that allows it. */
    FILE_LOCK,
    /** A unix socket that is connected with a program outside of the tree. */
    UNIX_SOCKET,
    /** One that this version of the Java library does not know. */
    OTHER;

    /** Apart from the enum, which must load where native access is denied. */
    private static final class Codes {
        static final Map<Integer, ObstacleKind> VALUES = Map.ofEntries(
                Map.entry(RekindleNative.REKINDLE_OBSTACLE_IO_URING(), IO_URING),
                Map.entry(RekindleNative.REKINDLE_OBSTACLE_TRACER(), TRACER),
                Map.entry(RekindleNative.REKINDLE_OBSTACLE_GHOST_FILE(), GHOST_FILE),
                Map.entry(RekindleNative.REKINDLE_OBSTACLE_CONNECTION(), CONNECTION),
                Map.entry(RekindleNative.REKINDLE_OBSTACLE_LINKED_FILE(), LINKED_FILE),
                Map.entry(RekindleNative.REKINDLE_OBSTACLE_OTHER_MOUNTS(), OTHER_MOUNTS),
                Map.entry(RekindleNative.REKINDLE_OBSTACLE_IMPORTED_MEMORY(), IMPORTED_MEMORY),
                Map.entry(RekindleNative.REKINDLE_OBSTACLE_RELEASED_MEMORY(), RELEASED_MEMORY),
                Map.entry(RekindleNative.REKINDLE_OBSTACLE_LOST_AGENT(), LOST_AGENT),
                Map.entry(RekindleNative.REKINDLE_OBSTACLE_MPS(), MPS),
                Map.entry(RekindleNative.REKINDLE_OBSTACLE_STOPPED(), STOPPED),
                Map.entry(RekindleNative.REKINDLE_OBSTACLE_SUSPENDED(), SUSPENDED),
                Map.entry(RekindleNative.REKINDLE_OBSTACLE_SESSION(), SESSION),
                Map.entry(RekindleNative.REKINDLE_OBSTACLE_TERMINAL(), TERMINAL),
                Map.entry(RekindleNative.REKINDLE_OBSTACLE_FILE_LOCK(), FILE_LOCK),
                Map.entry(RekindleNative.REKINDLE_OBSTACLE_UNIX_SOCKET(), UNIX_SOCKET));
    }

    static ObstacleKind of(int code) {
        return Codes.VALUES.getOrDefault(code, OTHER);
    }
}
