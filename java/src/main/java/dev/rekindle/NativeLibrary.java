// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.SymbolLookup;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Optional;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Finds and loads {@code librekindle.so}, once: from the property {@code rekindle.library.path} (the file or its
 * folder), then from a jar on the class path or module path, then from {@code java.library.path}.
 */
final class NativeLibrary {
    static final String PATH_PROPERTY = "rekindle.library.path";
    private static final String FILE_NAME = "librekindle.so";
    private static final Logger LOGGER = LoggerFactory.getLogger(NativeLibrary.class);

    /** Why it is not loaded. */
    private record Refusal(String message, @Nullable Throwable cause) {}

    private static final class State {
        static final @Nullable Refusal REFUSAL = tryToLoad();
    }

    private NativeLibrary() {}

    /** Loads the library unless it is loaded. */
    static void load() {
        Refusal refusal = State.REFUSAL;
        if (refusal != null) {
            throw new NativeLibraryException(refusal.message, refusal.cause);
        }
    }

    private static @Nullable Refusal tryToLoad() {
        try {
            if (!System.getProperty("os.name").equals("Linux")) {
                return new Refusal("Rekindle works on Linux only, as CRIU does", null);
            }
            Path file = find();
            System.load(file.toString());
            checkVersion(file);
            NativeLog.connect();
            LOGGER.debug("loaded {}", file);
            return null;
        } catch (NativeLibraryException failure) {
            return new Refusal(failure.getMessage(), failure.getCause());
        } catch (IllegalCallerException denied) {
            return denied(denied);
        } catch (ExceptionInInitializerError failure) {
            // The generated classes ask for native access when they are initialized.
            if (failure.getCause() instanceof IllegalCallerException denied) {
                return denied(denied);
            }
            throw failure;
        } catch (UnsatisfiedLinkError | IOException | UncheckedIOException failure) {
            return new Refusal("the native library could not be loaded: " + failure.getMessage(), failure);
        }
    }

    private static Refusal denied(IllegalCallerException cause) {
        return new Refusal("native access is denied to Rekindle: start java with " + nativeAccessFlag(), cause);
    }

    /** This library and its bindings are two modules, where they are modules. */
    private static String nativeAccessFlag() {
        return Stream.of(NativeLibrary.class, RekindleNative.class)
                .map(Class::getModule)
                .map(module -> module.isNamed() ? module.getName() : "ALL-UNNAMED")
                .distinct()
                .collect(Collectors.joining(",", "--enable-native-access=", ""));
    }

    private static Path find() throws IOException {
        String explicit = System.getProperty(PATH_PROPERTY, "");
        if (!explicit.isEmpty()) {
            Path path = Path.of(explicit).toAbsolutePath();
            Path file = Files.isDirectory(path) ? path.resolve(FILE_NAME) : path;
            if (!Files.isRegularFile(file)) {
                throw new NativeLibraryException(
                        "there is no " + file + ", which the property " + PATH_PROPERTY + " names", null);
            }
            return file;
        }
        Optional<Path> bundled = NativeBundle.extract(platform());
        if (bundled.isPresent()) {
            return bundled.get().resolve("lib").resolve(FILE_NAME);
        }
        String folders = System.getProperty("java.library.path", "");
        for (String folder : folders.split(File.pathSeparator, -1)) {
            Path file = Path.of(folder, FILE_NAME).toAbsolutePath();
            if (!folder.isEmpty() && Files.isRegularFile(file)) {
                return file;
            }
        }
        throw new NativeLibraryException(
                FILE_NAME + " was not found: set the property " + PATH_PROPERTY + " to it, or put the jar of "
                        + platform() + " on the class path or module path, or its folder in java.library.path ("
                        + folders + ")",
                null);
    }

    static String platform() {
        String architecture = System.getProperty("os.arch").toLowerCase(Locale.ROOT);
        return "linux-" + (architecture.equals("amd64") ? "x86_64" : architecture);
    }

    private static void checkVersion(Path file) {
        if (SymbolLookup.loaderLookup().find("rekindle_version_number").isEmpty()) {
            throw new NativeLibraryException(file + " is no Rekindle library", null);
        }
        int number = RekindleNative.rekindle_version_number();
        int expected =
                RekindleNative.REKINDLE_VERSION_MAJOR() * 1_000_000 + RekindleNative.REKINDLE_VERSION_MINOR() * 1000;
        if (number / 1000 != expected / 1000) {
            throw new NativeLibraryException(
                    "%s has version %s, but this Java library needs %d.%d: use files of one release"
                            .formatted(
                                    file,
                                    RekindleNative.rekindle_version().getString(0),
                                    RekindleNative.REKINDLE_VERSION_MAJOR(),
                                    RekindleNative.REKINDLE_VERSION_MINOR()),
                    null);
        }
    }
}
