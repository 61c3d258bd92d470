// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.ErrorCode;
import java.io.IOException;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** A file that others see as it was or as it is to be, and never half of it, whatever happens in between. */
final class WholeFile {
    /** A device that is full for whoever writes to it. */
    private static final Path FULL = Path.of("/dev/full");

    /** What the name begins with until all of it is there. */
    private static final String UNFINISHED = ".rekindle-";

    private WholeFile() {}

    /**
     * Writes it in a folder that exists. A link to a file elsewhere stays one; what is no regular file, is somebody else's, or
     * lies where no other can be made, is written to as it is.
     */
    static void write(Path file, String content) {
        write(file, content, StandardCharsets.UTF_8);
    }

    static void write(Path file, String content, Charset charset) {
        if (Files.isDirectory(file)) {
            throw new IllegalArgumentException(file + " is a folder: name a file");
        }
        try {
            Path real = behindLinks(file);
            if (!Files.exists(real) || canBeReplaced(real)) {
                replace(real, content, charset);
            } else {
                Files.writeString(real, content, charset);
            }
        } catch (IOException failure) {
            throw failure(file, "written", failure);
        }
    }

    /** To be called before what takes long: whether it could be made in its folder. What is there is left alone. */
    static void check(Path file) {
        try {
            Path real = behindLinks(file);
            if (!Files.exists(real)) {
                Files.delete(Files.createTempFile(real.resolveSibling(""), UNFINISHED, ".unfinished"));
            }
        } catch (IOException failure) {
            throw failure(file, "written", failure);
        }
    }

    /** Makes a folder for one, and those above it, where they are missing. */
    static void makeFolder(Path folder) {
        try {
            Files.createDirectories(folder);
        } catch (IOException failure) {
            throw failure(folder, "made", failure);
        }
    }

    /** Of a link to nothing yet, what it names. */
    private static Path behindLinks(Path file) throws IOException {
        if (Files.exists(file)) {
            return file.toRealPath();
        }
        Path named = Files.isSymbolicLink(file) ? file.resolveSibling(Files.readSymbolicLink(file)) : file;
        return named.toAbsolutePath();
    }

    /** Another one would be ours, and not its owner's. */
    private static boolean canBeReplaced(Path file) throws IOException {
        return Files.isRegularFile(file)
                && Files.isWritable(file.resolveSibling(""))
                && Files.getAttribute(file, "unix:uid").equals(Files.getAttribute(Path.of("/proc/self"), "unix:uid"));
    }

    private static void replace(Path file, String content, Charset charset) throws IOException {
        Path unfinished = Files.createTempFile(
                file.resolveSibling(""),
                UNFINISHED,
                ".unfinished",
                PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-r--r--")));
        try {
            Files.writeString(unfinished, content, charset);
            if (!Files.exists(file)) {
                Files.move(unfinished, file, StandardCopyOption.ATOMIC_MOVE);
                return;
            }
            Files.setPosixFilePermissions(unfinished, Files.getPosixFilePermissions(file));
            try {
                Files.move(unfinished, file, StandardCopyOption.ATOMIC_MOVE);
            } catch (FileSystemException mountedThere) { // a file of a container, for example
                Files.writeString(file, content, charset);
            }
        } finally {
            Files.deleteIfExists(unfinished);
        }
    }

    private static CommandException failure(Path file, String done, IOException failure) {
        String reason = reason(failure);
        ErrorCode code = code(failure);
        // What has a name could not be opened or made, whatever else its class says.
        boolean elsewhere = code != ErrorCode.NO_SPACE && failure instanceof FileSystemException;
        var sentence = new CommandException(
                elsewhere ? ErrorCode.PERMISSION : code,
                file + " could not be " + done + ": "
                        + (reason == null ? failure.getClass().getSimpleName() : reason)
                        + (elsewhere ? "; name a place where files can be made" : ""));
        sentence.initCause(failure);
        return sentence;
    }

    private static @Nullable String reason(IOException failure) {
        if (failure instanceof AccessDeniedException) {
            return "permission denied";
        }
        if (failure instanceof NoSuchFileException) {
            return "nothing can be made there";
        }
        if (failure instanceof FileAlreadyExistsException) {
            return "a file is in its place";
        }
        return failure instanceof FileSystemException named ? named.getReason() : failure.getMessage();
    }

    /** Of what could not be written or read, where the system's reason has a status of its own. */
    static ErrorCode code(IOException failure) {
        return code(failure, full());
    }

    /** The JVM has no exception of its own for a full disk, so its reason is compared with that of one that is surely full. */
    static ErrorCode code(IOException failure, String full) {
        if (failure instanceof AccessDeniedException) {
            return ErrorCode.PERMISSION;
        }
        if (full.equals(reason(failure))) {
            return ErrorCode.NO_SPACE;
        }
        // Nor has it for a read-only place, or one whose filesystem lets nobody make files.
        return failure.getClass() == FileSystemException.class ? ErrorCode.PERMISSION : ErrorCode.INTERNAL;
    }

    /** What that is called here: the system's sentence, in the language of the locale. */
    static String full() {
        try {
            Files.write(FULL, new byte[1], StandardOpenOption.WRITE);
            return "";
        } catch (IOException full) {
            return Objects.requireNonNullElse(reason(full), "");
        }
    }
}
