// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.ErrorCode;
import dev.rekindle.RekindleException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.ClosedByInterruptException;
import java.util.LinkedHashMap;
import java.util.Map;
import picocli.CommandLine;
import picocli.CommandLine.ExitCode;

/** The exit statuses of the program, which its help lists. The JVM adds 128 and the signal where one ended it. */
final class ExitStatus {
    static final int FAILED = ExitCode.SOFTWARE;
    static final int WRONG_ARGUMENTS = ExitCode.USAGE;

    /** As where SIGPIPE ends a program, which the JVM ignores. */
    static final int READER_HAS_GONE = 128 + 13;

    private ExitStatus() {}

    static int of(Throwable failure) {
        return of(code(failure));
    }

    static ErrorCode code(Throwable failure) {
        return switch (failure) {
            case RekindleException exception -> exception.code();
            case CommandException exception -> exception.code();
            case CriuImages.Damaged _ -> ErrorCode.CORRUPT_IMAGE;
            case InterruptedException _, ClosedByInterruptException _ -> ErrorCode.CANCELLED;
            case IOException exception -> WholeFile.code(exception);
            case UncheckedIOException wrapped when wrapped.getCause() != null -> code(wrapped.getCause());
            case IllegalArgumentException _, CommandLine.ParameterException _ -> ErrorCode.INVALID_ARGUMENT;
            default -> ErrorCode.INTERNAL;
        };
    }

    static int of(ErrorCode code) {
        return switch (code) {
            case INTERNAL, CLOSED -> FAILED;
            case INVALID_ARGUMENT -> WRONG_ARGUMENTS;
            case BUSY -> 3;
            case PID_IN_USE -> 4;
            case NO_SUCH_PROCESS -> 5;
            case PERMISSION -> 6;
            case CRIU_NOT_FOUND -> 7;
            case CRIU_FAILED -> 8;
            case NO_DRIVER -> 9;
            case GPU -> 10;
            case NO_IMAGE -> 11;
            case CORRUPT_IMAGE -> 12;
            case INCOMPATIBLE -> 13;
            case POOL_UNREACHABLE -> 14;
            case POOL_DIED -> 15;
            case NO_SPACE -> 16;
            case TIMEOUT -> 17;
            case CANCELLED -> 18;
            case NATIVE_LIBRARY -> 19;
        };
    }

    /** What the help says of them. */
    static Map<String, String> descriptions() {
        var list = new LinkedHashMap<String, String>();
        list.put("0", "It succeeded.");
        list.put("1", "It failed in a way that has no status of its own.");
        list.put("2", "The arguments are wrong.");
        list.put("3", "Another run, or another program, has the process or the folder.");
        list.put("4", "Another process has a process id that the checkpoint needs.");
        list.put("5", "The process does not exist, or no longer.");
        list.put("6", "A privilege is missing, or a file or folder cannot be read or written.");
        list.put("7", "There is no criu program, or the one named does not run.");
        list.put("8", "CRIU failed; the error lines of its log follow the sentence.");
        list.put("9", "There is no CUDA driver, or one that is too old.");
        list.put("10", "A driver call failed.");
        list.put("11", "The folder holds no checkpoint.");
        list.put("12", "The image is truncated, or a checksum is wrong.");
        list.put(
                "13",
                "Image, GPU, driver or CRIU are of different kinds, or something of the process is in the way of a dump.");
        list.put("14", "No pool answers.");
        list.put("15", "The pool ended meanwhile.");
        list.put("16", "Disk or memory is full.");
        list.put("17", "A step took longer than its limit.");
        list.put("18", "The run was cancelled.");
        list.put("19", "The native library could not be loaded.");
        list.put(
                "130, 143",
                "SIGINT or SIGTERM ended it; a checkpoint or restore under way was cancelled, and nothing is lost."
                        + " metrics --listen, which is meant to be ended so: 0.");
        list.put("141", "Who read standard output, as head does, has read enough, and nothing else was to be done.");
        return list;
    }
}
