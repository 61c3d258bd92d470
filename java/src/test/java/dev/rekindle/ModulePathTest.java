// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import dev.rekindle.internal.ffi.RekindleNative;
import java.io.File;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.spi.ToolProvider;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.NullMarked;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.slf4j.Logger;

/** The library on the module path of another JVM, and in a runtime image that jlink makes of an application with it. */
class ModulePathTest {
    private static final String ACCESS = "--enable-native-access=dev.rekindle,dev.rekindle.bindings";

    /** The class of an application, which requires nothing but {@code dev.rekindle}. */
    private static final String APPLICATION = """
            package application;

            import dev.rekindle.CheckpointImage;
            import dev.rekindle.NoImageException;
            import dev.rekindle.Rekindle;
            import java.nio.file.Path;

            public class Main {
                public static void main(String[] arguments) {
                    System.out.println(Rekindle.class.getModule() + ": version " + Rekindle.nativeVersion());
                    try {
                        CheckpointImage.open(Path.of("/nowhere"));
                    } catch (NoImageException none) {
                        System.out.println(none.code());
                    }
                }
            }
            """;

    @TempDir
    private Path folder;

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

    @Test
    void applicationFindsTheLibraryInThePlatformsModule() throws Exception {
        Path application = application(APPLICATION);
        assertThat(ChildJvm.launch(List.of(
                                ACCESS,
                                "--illegal-native-access=deny",
                                "-Djava.library.path=/nowhere",
                                "-Drekindle.cache.directory=" + folder.resolve("cache"),
                                "-p",
                                path(Stream.concat(modules(), Stream.of(platform(), application))),
                                "-m",
                                "application/application.Main"))
                        .text())
                .contains("module dev.rekindle: version 0.1.")
                .contains("NO_IMAGE");
    }

    @Test
    void jlinkMakesAnImageOfAnApplicationWithIt() throws Exception {
        Path image = folder.resolve("image");
        run(
                "jlink",
                "--module-path",
                path(Stream.concat(modules(), Stream.of(platform(), application(APPLICATION)))),
                "--add-modules",
                "application,dev.rekindle.linux.x86_64",
                "--add-options=" + ACCESS + " --illegal-native-access=deny",
                "--output",
                image.toString());
        Process process = new ProcessBuilder(
                        image.resolve("bin/java").toString(),
                        "-Drekindle.cache.directory=" + folder.resolve("cache"),
                        "-m",
                        "application/application.Main")
                .redirectErrorStream(true)
                .start();
        assertThat(new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8))
                .contains("module dev.rekindle: version 0.1.")
                .contains("NO_IMAGE");
    }

    @Test
    void bindingsAreOfThisLibraryAlone() throws Exception {
        assertThat(compile("package application; class Main { dev.rekindle.internal.ffi.RekindleNative n; }"))
                .contains("package dev.rekindle.internal.ffi is");
    }

    @Test
    void accessThatTheBindingsLackIsNamed() throws Exception {
        for (String module : List.of("dev.rekindle", "dev.rekindle.bindings")) {
            assertThat(show(
                            "--enable-native-access=" + module,
                            "-Drekindle.library.path=" + TestMachine.LIBRARY_FOLDER))
                    .contains("module dev.rekindle: refused: ")
                    .contains(ACCESS);
        }
    }

    private static String show(String... options) throws Exception {
        var all = new ArrayList<>(Arrays.asList(options));
        all.addAll(List.of("--illegal-native-access=deny", "-p", path(modules())));
        all.addAll(List.of("--patch-module", "dev.rekindle=" + origin(ModulePathTest.class)));
        all.addAll(List.of("-m", "dev.rekindle/" + ShowAvailability.class.getName()));
        return ChildJvm.launch(all).text();
    }

    /** What the jar of the platform holds, as far as a program needs it that only loads the library. */
    private Path platform() throws IOException {
        Path module = folder.resolve("platform");
        Path classes = Path.of("target/native");
        for (String file : List.of("module-info.class", "dev/rekindle/linux/x86_64/LinuxFiles.class")) {
            copy(classes.resolve(file), module.resolve(file));
        }
        copy(
                TestMachine.LIBRARY_FOLDER.resolve("librekindle.so"),
                module.resolve("META-INF/rekindle/" + NativeLibrary.platform() + "/lib/librekindle.so"));
        return module;
    }

    private static void copy(Path from, Path to) throws IOException {
        Files.createDirectories(to.getParent());
        Files.copy(from, to);
    }

    private Path application(String source) throws Exception {
        assertThat(compile(source)).isEmpty();
        return folder.resolve("application");
    }

    /** Returns what the compiler says. */
    private String compile(String source) throws Exception {
        Path sources = Files.createDirectories(folder.resolve("sources"));
        Path module =
                Files.writeString(sources.resolve("module-info.java"), "module application { requires dev.rekindle; }");
        Path main = Files.writeString(sources.resolve("Main.java"), source);
        var output = new StringWriter();
        var writer = new PrintWriter(output);
        tool("javac")
                .run(
                        writer,
                        writer,
                        "--module-path",
                        path(Stream.concat(modules(), Stream.of(origin(NullMarked.class)))),
                        "-d",
                        folder.resolve("application").toString(),
                        module.toString(),
                        main.toString());
        return output.toString();
    }

    private static void run(String tool, String... arguments) {
        var output = new StringWriter();
        var writer = new PrintWriter(output);
        assertThat(tool(tool).run(writer, writer, arguments))
                .as(output::toString)
                .isZero();
    }

    private static ToolProvider tool(String name) {
        return ToolProvider.findFirst(name).orElseThrow();
    }

    /** The modules of this library, and the one that it requires at run time. */
    private static Stream<Path> modules() throws Exception {
        return Stream.of(origin(Rekindle.class), origin(RekindleNative.class), origin(Logger.class));
    }

    private static String path(Stream<Path> modules) {
        return modules.map(Path::toString).collect(Collectors.joining(File.pathSeparator));
    }

    private static Path origin(Class<?> type) throws Exception {
        return Path.of(type.getProtectionDomain().getCodeSource().getLocation().toURI());
    }
}
