// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;

/** What kind of thing went wrong, for programs that decide by it. */
public enum ErrorCode {
    /** An argument is out of its range. */
    INVALID_ARGUMENT(RekindleNative.REKINDLE_ERROR_INVALID_ARGUMENT()),
    /** The process does not exist, or no longer. */
    NO_SUCH_PROCESS(RekindleNative.REKINDLE_ERROR_NO_SUCH_PROCESS()),
    /** The caller lacks a privilege. */
    PERMISSION(RekindleNative.REKINDLE_ERROR_PERMISSION()),
    /** There is no {@code criu} program, or the one named does not run. */
    CRIU_NOT_FOUND(RekindleNative.REKINDLE_ERROR_CRIU_NOT_FOUND()),
    /** CRIU failed: {@link RekindleException#criuLog()} has its last errors. */
    CRIU_FAILED(RekindleNative.REKINDLE_ERROR_CRIU_FAILED()),
    /** There is no CUDA driver, or one that is too old. */
    NO_DRIVER(RekindleNative.REKINDLE_ERROR_NO_DRIVER()),
    /** A driver call failed. */
    GPU(RekindleNative.REKINDLE_ERROR_GPU()),
    /** The folder holds no checkpoint. */
    NO_IMAGE(RekindleNative.REKINDLE_ERROR_NO_IMAGE()),
    /** The image is truncated, or a checksum is wrong. */
    CORRUPT_IMAGE(RekindleNative.REKINDLE_ERROR_CORRUPT_IMAGE()),
    /** Image, GPU, driver or CRIU are of different kinds. */
    INCOMPATIBLE(RekindleNative.REKINDLE_ERROR_INCOMPATIBLE()),
    /** No pool answers at the socket. */
    POOL_UNREACHABLE(RekindleNative.REKINDLE_ERROR_POOL_UNREACHABLE()),
    /** The pool process ended during the call. */
    POOL_DIED(RekindleNative.REKINDLE_ERROR_POOL_DIED()),
    /** Disk or memory is full. */
    NO_SPACE(RekindleNative.REKINDLE_ERROR_NO_SPACE()),
    /** A step took longer than its limit. */
    TIMEOUT(RekindleNative.REKINDLE_ERROR_TIMEOUT()),
    /** The run was cancelled. */
    CANCELLED(RekindleNative.REKINDLE_ERROR_CANCELLED()),
    /** The handle was closed. */
    CLOSED(RekindleNative.REKINDLE_ERROR_CLOSED()),
    /** A defect, or an operating system call that should not fail. */
    INTERNAL(RekindleNative.REKINDLE_ERROR_INTERNAL()),
    /** The native library could not be loaded. */
    NATIVE_LIBRARY(Integer.MIN_VALUE);

    private final int code;

    ErrorCode(int code) {
        this.code = code;
    }

    static ErrorCode of(int code) {
        for (ErrorCode value : values()) {
            if (value.code == code) {
                return value;
            }
        }
        return INTERNAL;
    }
}
