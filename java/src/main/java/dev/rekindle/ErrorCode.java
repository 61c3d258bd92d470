// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import java.util.Map;

/** What kind of thing went wrong, for programs that decide by it. */
public enum ErrorCode {
    /** An argument is out of its range. */
    INVALID_ARGUMENT,
    /** The process does not exist, or no longer. */
    NO_SUCH_PROCESS,
    /** The caller lacks a privilege. */
    PERMISSION,
    /** There is no {@code criu} program, or the one named does not run. */
    CRIU_NOT_FOUND,
    /** CRIU failed: {@link RekindleException#criuLog()} has its last errors. */
    CRIU_FAILED,
    /** There is no CUDA driver, or one that is too old. */
    NO_DRIVER,
    /** A driver call failed. */
    GPU,
    /** The folder holds no checkpoint. */
    NO_IMAGE,
    /** The image is truncated, or a checksum is wrong. */
    CORRUPT_IMAGE,
    /** Image, GPU, driver or CRIU are of different kinds, or something of the process is in the way of a dump. */
    INCOMPATIBLE,
    /** No pool answers at the socket. */
    POOL_UNREACHABLE,
    /** The pool process ended during the call. */
    POOL_DIED,
    /** Disk or memory is full. */
    NO_SPACE,
    /** A step took longer than its limit. */
    TIMEOUT,
    /** The run was cancelled. */
    CANCELLED,
    /** The handle was closed. */
    CLOSED,
    /** A defect, or an operating system call that should not fail. */
    INTERNAL,
    /** Another run, or another program, has the process or the folder. */
    BUSY,
    /** Another process has a process id that the checkpoint needs. */
    PID_IN_USE,
    /** The native library could not be loaded. */
    NATIVE_LIBRARY;

    /** Apart from the enum, which must load where native access is denied. */
    private static final class Codes {
        static final Map<Integer, ErrorCode> VALUES = Map.ofEntries(
                Map.entry(RekindleNative.REKINDLE_ERROR_INVALID_ARGUMENT(), INVALID_ARGUMENT),
                Map.entry(RekindleNative.REKINDLE_ERROR_NO_SUCH_PROCESS(), NO_SUCH_PROCESS),
                Map.entry(RekindleNative.REKINDLE_ERROR_PERMISSION(), PERMISSION),
                Map.entry(RekindleNative.REKINDLE_ERROR_CRIU_NOT_FOUND(), CRIU_NOT_FOUND),
                Map.entry(RekindleNative.REKINDLE_ERROR_CRIU_FAILED(), CRIU_FAILED),
                Map.entry(RekindleNative.REKINDLE_ERROR_NO_DRIVER(), NO_DRIVER),
                Map.entry(RekindleNative.REKINDLE_ERROR_GPU(), GPU),
                Map.entry(RekindleNative.REKINDLE_ERROR_NO_IMAGE(), NO_IMAGE),
                Map.entry(RekindleNative.REKINDLE_ERROR_CORRUPT_IMAGE(), CORRUPT_IMAGE),
                Map.entry(RekindleNative.REKINDLE_ERROR_INCOMPATIBLE(), INCOMPATIBLE),
                Map.entry(RekindleNative.REKINDLE_ERROR_POOL_UNREACHABLE(), POOL_UNREACHABLE),
                Map.entry(RekindleNative.REKINDLE_ERROR_POOL_DIED(), POOL_DIED),
                Map.entry(RekindleNative.REKINDLE_ERROR_NO_SPACE(), NO_SPACE),
                Map.entry(RekindleNative.REKINDLE_ERROR_TIMEOUT(), TIMEOUT),
                Map.entry(RekindleNative.REKINDLE_ERROR_CANCELLED(), CANCELLED),
                Map.entry(RekindleNative.REKINDLE_ERROR_CLOSED(), CLOSED),
                Map.entry(RekindleNative.REKINDLE_ERROR_INTERNAL(), INTERNAL),
                Map.entry(RekindleNative.REKINDLE_ERROR_BUSY(), BUSY),
                Map.entry(RekindleNative.REKINDLE_ERROR_PID_IN_USE(), PID_IN_USE));
    }

    static ErrorCode of(int code) {
        return Codes.VALUES.getOrDefault(code, INTERNAL);
    }
}
