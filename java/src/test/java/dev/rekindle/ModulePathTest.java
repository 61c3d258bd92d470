// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import dev.rekindle.internal.ffi.RekindleNative;
import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.jar.Attributes;
import java.util.jar.JarEntry;
import java.util.jar.JarOutputStream;
import java.util.jar.Manifest;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.slf4j.Logger;

/** The jars on the module path of another JVM. */
class ModulePathTest {
    @TempDir
    private Path folder;

    private Path library;
    private Path bindings;

    /** Asks twice: what a failed initializer says only the first time is no answer. */
    static final class ShowAvailability {
        public static void main(String[] arguments) {
            Rekindle.isAvailable();
            System.out.println(Rekindle.class.getModule() + ": "
                    + Rekindle.unavailabilityCause()
                            .filter(NativeLibraryException.class::isInstance)
                            .map(failure -> "refused: " + failure.getMessage())
                            .orElseGet(() -> "version " + Rekindle.nativeVersion()));
        }
    }

    @BeforeEach
    void makeJars() throws Exception {
        library = jar("dev.rekindle", origin(Rekindle.class));
        bindings = jar("dev.rekindle.bindings", origin(RekindleNative.class));
    }

    @Test
    void libraryInAPlatformJarIsFound() throws Exception {
        Path files = folder.resolve("files/META-INF/rekindle/" + NativeLibrary.platform() + "/lib");
        Files.createDirectories(files);
        Files.copy(TestMachine.LIBRARY_FOLDER.resolve("librekindle.so"), files.resolve("librekindle.so"));
        Path platform = jar("dev.rekindle.platform", folder.resolve("files"));
        assertThat(show(
                        List.of(library, bindings, platform),
                        "--enable-native-access=dev.rekindle,dev.rekindle.bindings",
                        "-Djava.library.path=/nowhere",
                        "-Drekindle.cache.directory=" + folder.resolve("cache")))
                .contains("module dev.rekindle: version 0.1.");
    }

    @Test
    void accessThatTheBindingsLackIsNamed() throws Exception {
        for (String module : List.of("dev.rekindle", "dev.rekindle.bindings")) {
            assertThat(show(
                            List.of(library, bindings),
                            "--enable-native-access=" + module,
                            "-Drekindle.library.path=" + TestMachine.LIBRARY_FOLDER))
                    .contains("module dev.rekindle: refused: ")
                    .contains("--enable-native-access=dev.rekindle,dev.rekindle.bindings");
        }
    }

    private static String show(List<Path> jars, String... options) throws Exception {
        var all = new ArrayList<>(Arrays.asList(options));
        all.add("--illegal-native-access=deny");
        all.addAll(List.of("-p", modulePath(jars), "--add-modules", "org.slf4j"));
        all.addAll(List.of("--patch-module", "dev.rekindle=" + origin(ModulePathTest.class)));
        all.addAll(List.of("-m", "dev.rekindle/" + ShowAvailability.class.getName()));
        return ChildJvm.launch(all).text();
    }

    private static String modulePath(List<Path> jars) throws Exception {
        return Stream.concat(jars.stream(), Stream.of(origin(Logger.class)))
                .map(Path::toString)
                .collect(Collectors.joining(File.pathSeparator));
    }

    private static Path origin(Class<?> type) throws Exception {
        return Path.of(type.getProtectionDomain().getCodeSource().getLocation().toURI());
    }

    /** The jar that the build makes of a folder of classes; a jar is taken as it is. */
    private Path jar(String module, Path classes) throws Exception {
        if (!Files.isDirectory(classes)) {
            return classes;
        }
        var manifest = new Manifest();
        manifest.getMainAttributes().put(Attributes.Name.MANIFEST_VERSION, "1.0");
        manifest.getMainAttributes().putValue("Automatic-Module-Name", module);
        Path jar = folder.resolve(module + ".jar");
        try (var output = new JarOutputStream(Files.newOutputStream(jar), manifest);
                Stream<Path> paths = Files.walk(classes)) {
            for (Path file : paths.filter(Files::isRegularFile).toList()) {
                output.putNextEntry(new JarEntry(classes.relativize(file).toString()));
                Files.copy(file, output);
            }
        }
        return jar;
    }
}
