// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** A JVM of its own, for what can happen only once in a JVM, or ends it. */
final class ChildJvm {
    record Output(int exitCode, String text) {}

    /** What the second compiler makes of code pays nowhere in a second: a start takes half the processor time without. */
    private static final String SHORT_LIVED = "-XX:TieredStopAtLevel=1";

    private ChildJvm() {}

    /** Runs a main class on the class path of this JVM, without the options that this one has. */
    static Output run(Class<?> main, List<String> options, Map<String, String> environment, String... arguments)
            throws IOException, InterruptedException {
        return run(main, options, List.of(), environment, arguments);
    }

    static Output run(
            Class<?> main,
            List<String> options,
            List<Path> classPath,
            Map<String, String> environment,
            String... arguments)
            throws IOException, InterruptedException {
        return run(List.of(), main, options, classPath, environment, arguments);
    }

    /** In a pid namespace of its own, whose first process collects orphans at once. */
    static Output runIsolated(Class<?> main, List<String> options, Map<String, String> environment, String... arguments)
            throws IOException, InterruptedException {
        var isolation = List.of(
                "unshare",
                "--pid",
                "--mount",
                "--propagation",
                "private",
                "--fork",
                "--mount-proc",
                "--kill-child",
                "bash",
                "-c",
                "\"$@\" & wait $!",
                "bash");
        return run(isolation, main, options, List.of(), environment, arguments);
    }

    /** The wrapper is a command that runs what follows it. */
    static Output run(
            List<String> wrapper,
            Class<?> main,
            List<String> options,
            List<Path> classPath,
            Map<String, String> environment,
            String... arguments)
            throws IOException, InterruptedException {
        var all = new ArrayList<>(options);
        all.addAll(List.of("-cp", path(entry -> true, classPath), main.getName()));
        all.addAll(List.of(arguments));
        return launch(wrapper, all, environment);
    }

    /** A main class that logs nothing, without Logback, which would take most of the processor time of its start. */
    static Output runWithoutLog(Class<?> main, List<String> options, List<Path> classPath)
            throws IOException, InterruptedException {
        var all = new ArrayList<>(options);
        all.add("-Dslf4j.internal.verbosity=ERROR");
        all.addAll(List.of("-cp", path(entry -> !entry.contains("/logback-"), classPath), main.getName()));
        return launch(List.of(), all, Map.of());
    }

    /** The class path of this JVM, as far as it is wanted, and more. */
    private static String path(Predicate<String> wanted, List<Path> more) {
        return Stream.concat(
                        Stream.of(System.getProperty("java.class.path").split(File.pathSeparator, -1))
                                .filter(wanted),
                        more.stream().map(Path::toString))
                .collect(Collectors.joining(File.pathSeparator));
    }

    /** Starts it with the library and returns at once; its output is to be read from the process. */
    static Process start(Class<?> main, Map<String, String> environment, String... arguments) throws IOException {
        // A JVM leaves a signal alone that it inherits as ignored, as in the background of a shell script.
        var command = new ArrayList<>(List.of(
                "env",
                "--default-signal=HUP,INT,TERM",
                Path.of(System.getProperty("java.home"), "bin", "java").toString()));
        command.add(SHORT_LIVED);
        command.addAll(withTheLibrary());
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), main.getName()));
        command.addAll(List.of(arguments));
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
        builder.environment().putAll(environment);
        return builder.start();
    }

    /** The options of a JVM that uses the library and {@link TestMachine}. */
    static List<String> withTheLibrary() {
        return List.of(
                "--enable-native-access=ALL-UNNAMED",
                "--illegal-native-access=deny",
                "-Drekindle.library.path=" + TestMachine.LIBRARY_FOLDER,
                "-Drekindle.native.build=" + TestMachine.NATIVE,
                "-Drekindle.native.source=" + System.getProperty("rekindle.native.source"));
    }

    /** As the first process of a pid namespace, as in a container. */
    static Output runAsFirstProcess(Class<?> main, Map<String, String> environment, String... arguments)
            throws IOException, InterruptedException {
        var isolation = List.of(
                "unshare", "--pid", "--mount", "--propagation", "private", "--fork", "--mount-proc", "--kill-child");
        // All such JVMs of a machine would write to the file of process 1, and the second one says that it cannot.
        var options = new ArrayList<>(withTheLibrary());
        options.add("-XX:-UsePerfData");
        return run(isolation, main, options, List.of(), environment, arguments);
    }

    /** With nothing but these options, which name the main class too. */
    static Output launch(List<String> options) throws IOException, InterruptedException {
        return launch(List.of(), options, Map.of());
    }

    private static Output launch(List<String> wrapper, List<String> options, Map<String, String> environment)
            throws IOException, InterruptedException {
        var command = new ArrayList<>(wrapper);
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.add(SHORT_LIVED);
        command.addAll(options);
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
        builder.environment().putAll(environment);
        Process process = builder.start();
        String text = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        return new Output(process.waitFor(), text);
    }
}
