// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.DirectoryNotEmptyException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;

/**
 * The native files on the class path or module path. They are unpacked once for each content, into a folder named by
 * its digest, and stay there: later programs find them, and nothing has to be deleted at exit. What is there already is
 * loaded only where it is what the jar holds and nobody else can change it.
 */
final class NativeBundle {
    static final String DIRECTORY_PROPERTY = "rekindle.cache.directory";

    /** The library first: without it there is no bundle. The others sit where it looks for them. */
    private static final List<String> FILES = List.of(
            "lib/librekindle.so",
            "lib/criu/cuda_plugin.so",
            "lib/librekindle-preload.so",
            "bin/rekindled",
            "bin/rekindle-seal");

    private static final FileAttribute<Set<PosixFilePermission>> PRIVATE =
            PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------"));

    private NativeBundle() {}

    /** Returns the folder with {@code lib} and {@code bin}, or nothing where no jar has a bundle. */
    static Optional<Path> extract(String platform) throws IOException {
        Map<String, byte[]> files = read("META-INF/rekindle/" + platform + "/");
        if (!files.containsKey(FILES.getFirst())) {
            return Optional.empty();
        }
        Path cache = cache();
        Files.createDirectories(cache, PRIVATE);
        TrustedFiles.requireFolder(cache);
        Path folder = cache.resolve(digest(files));
        if (!Files.isDirectory(folder, LinkOption.NOFOLLOW_LINKS)) {
            Path unfinished = Files.createTempDirectory(cache, "unpacking-");
            try {
                write(files, unfinished);
                move(unfinished, folder);
            } finally {
                delete(unfinished);
            }
        }
        // The name alone says nothing of what is there now, and it is about to be loaded.
        TrustedFiles.requireContent(folder, files);
        return Optional.of(folder);
    }

    private static Map<String, byte[]> read(String prefix) throws IOException {
        var files = new LinkedHashMap<String, byte[]>();
        for (String name : FILES) {
            // Not the class's: on the module path it looks in its own module only, and the files are in another jar.
            try (InputStream input = NativeBundle.class.getClassLoader().getResourceAsStream(prefix + name)) {
                if (input != null) {
                    files.put(name, input.readAllBytes());
                }
            }
        }
        return files;
    }

    private static Path cache() {
        String explicit = System.getProperty(DIRECTORY_PROPERTY, "");
        if (!explicit.isEmpty()) {
            return Path.of(explicit).toAbsolutePath();
        }
        String base = System.getenv("XDG_CACHE_HOME");
        return base == null || base.isEmpty()
                ? Path.of(System.getProperty("user.home"), ".cache", "rekindle")
                : Path.of(base, "rekindle");
    }

    private static String digest(Map<String, byte[]> files) {
        try {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            files.values().forEach(digest::update);
            return HexFormat.of().formatHex(digest.digest(), 0, 16);
        } catch (NoSuchAlgorithmException impossible) {
            throw new AssertionError("every JDK has SHA-256", impossible);
        }
    }

    private static void write(Map<String, byte[]> files, Path folder) throws IOException {
        for (var entry : files.entrySet()) {
            Path file = folder.resolve(entry.getKey());
            Files.createDirectories(file.getParent(), PRIVATE);
            Files.write(file, entry.getValue());
            Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rwxr-xr-x"));
        }
    }

    /** Another program may have put the same files there meanwhile, which is as good. */
    private static void move(Path unfinished, Path folder) throws IOException {
        try {
            Files.move(unfinished, folder, StandardCopyOption.ATOMIC_MOVE);
        } catch (AtomicMoveNotSupportedException impossible) {
            throw impossible;
        } catch (FileAlreadyExistsException | DirectoryNotEmptyException present) {
            return;
        } catch (IOException failure) {
            if (!Files.isDirectory(folder)) {
                throw failure;
            }
        }
    }

    private static void delete(Path folder) throws IOException {
        if (Files.isDirectory(folder)) {
            try (Stream<Path> paths = Files.walk(folder)) {
                for (Path path : (Iterable<Path>) paths.sorted(Comparator.reverseOrder())::iterator) {
                    Files.delete(path);
                }
            }
        }
    }
}
