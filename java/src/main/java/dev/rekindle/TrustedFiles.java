// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Says whether code in files may be loaded: nobody but root and the user of this process can have written it, or can
 * put something else in its place.
 */
final class TrustedFiles {
    private static final int ROOT = 0;
    private static final int WRITABLE_BY_OTHERS = 0022;
    private static final int STICKY = 01000;

    private TrustedFiles() {}

    /** Fails with what to do where the folder, or one that it is in, is another user's or may be written by others. */
    static void requireFolder(Path folder) throws IOException {
        for (Path path = folder.toRealPath(); path != null; path = path.getParent()) {
            // In a sticky folder, such as /tmp, others cannot move what is not theirs.
            requireOwnerAndMode(path, STICKY);
        }
    }

    /** Fails unless the folder holds those files with that content and nothing else, all of them this user's. */
    static void requireContent(Path folder, Map<String, byte[]> files) throws IOException {
        try (Stream<Path> paths = Files.walk(folder)) {
            for (Path path : (Iterable<Path>) paths::iterator) {
                if (Files.isSymbolicLink(path)) {
                    throw new IOException(path + " is a symbolic link, which was not unpacked there; remove " + folder);
                }
                requireOwnerAndMode(path, 0);
            }
        }
        Set<String> found = names(folder);
        if (!found.equals(files.keySet())) {
            throw new IOException(folder + " holds " + found + " and not what was unpacked there; remove it");
        }
        for (var entry : files.entrySet()) {
            byte[] content = Files.readAllBytes(folder.resolve(entry.getKey()));
            if (!Arrays.equals(content, entry.getValue())) {
                throw new IOException(
                        folder.resolve(entry.getKey()) + " is not the file that was unpacked there; remove " + folder);
            }
        }
    }

    private static Set<String> names(Path folder) throws IOException {
        try (Stream<Path> paths = Files.walk(folder)) {
            return paths.filter(path -> !Files.isDirectory(path, LinkOption.NOFOLLOW_LINKS))
                    .map(path -> folder.relativize(path).toString())
                    .collect(Collectors.toCollection(TreeSet::new));
        }
    }

    private static void requireOwnerAndMode(Path path, int excusedBy) throws IOException {
        Map<String, Object> attributes = Files.readAttributes(path, "unix:uid,mode", LinkOption.NOFOLLOW_LINKS);
        int owner = number(attributes, "uid");
        int mode = number(attributes, "mode");
        if (owner != ROOT && owner != user()) {
            throw new IOException(
                    path + " belongs to user " + owner + ", who could change what is loaded; " + advice());
        }
        if ((mode & WRITABLE_BY_OTHERS) != 0 && (mode & excusedBy) == 0) {
            throw new IOException(
                    path + " may be written by others, who could change what is loaded: chmod go-w it, or " + advice());
        }
    }

    private static String advice() {
        return "set the property " + NativeBundle.DIRECTORY_PROPERTY + " to a folder of this user's own";
    }

    /** The effective user of this process. */
    private static int user() throws IOException {
        return number(Files.readAttributes(Path.of("/proc/self"), "unix:uid"), "uid");
    }

    private static int number(Map<String, Object> attributes, String name) {
        return ((Number) Objects.requireNonNull(attributes.get(name))).intValue();
    }
}
