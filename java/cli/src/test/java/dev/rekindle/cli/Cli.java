// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.networknt.schema.InputFormat;
import com.networknt.schema.Schema;
import com.networknt.schema.SchemaRegistry;
import com.networknt.schema.SpecificationVersion;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import picocli.CommandLine;

/** The commands in this JVM, on the simulated driver and with a pool socket in the folder of the test. */
final class Cli {
    static final Path NATIVE = Path.of(System.getProperty("rekindle.native.build"));
    static final Path SIMULATED = NATIVE.resolve("lib/simcuda");
    private static final Schema SCHEMA = schema();
    /** Commands that take settings, and those that do not. */
    private static final List<String> WITHOUT_SETTINGS =
            List.of("inspect", "show", "stats", "setup", "cdi", "report", "help", "--help", "--version");

    private final List<String> settings;

    record Outcome(int exitCode, String out, String err) {
        /** What it printed with {@code --json}, which is of the schema. */
        JsonObject json() {
            assertThat(SCHEMA.validate(out, InputFormat.JSON)).as(out + err).isEmpty();
            return JsonParser.parseString(out).getAsJsonObject();
        }
    }

    Cli(Path folder) {
        settings = List.of(
                "--cuda-driver",
                SIMULATED.resolve("libcuda.so.1").toString(),
                "--pool-socket",
                folder.resolve("pool.sock").toString());
    }

    private static Schema schema() {
        try (InputStream stream = Objects.requireNonNull(Json.class.getResourceAsStream("rekindle-schema.json"))) {
            return SchemaRegistry.withDefaultDialect(SpecificationVersion.DRAFT_2020_12)
                    .getSchema(new String(stream.readAllBytes(), StandardCharsets.UTF_8), InputFormat.JSON);
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    Outcome succeed(String... arguments) {
        Outcome outcome = run(arguments);
        assertThat(outcome.exitCode()).as(outcome.err() + outcome.out()).isZero();
        return outcome;
    }

    /** Commands that take settings get those of the test, unless they have them. */
    Outcome run(String... arguments) {
        var out = new StringWriter();
        Outcome outcome = run(new PrintWriter(out, true), arguments);
        return new Outcome(outcome.exitCode(), out.toString(), outcome.err());
    }

    /** Likewise with another standard output; none of it is in the outcome. */
    Outcome run(PrintWriter out, String... arguments) {
        var all = new ArrayList<>(List.of(arguments));
        boolean group = arguments[0].equals("pool");
        int place = group ? 2 : 1;
        boolean takesSettings = !WITHOUT_SETTINGS.contains(arguments[0])
                && all.size() >= place
                && (!group
                        || List.of("start", "status", "stop", "prefetch", "drop")
                                .contains(arguments[1]))
                && !arguments[0].equals("dance");
        for (int i = 0; takesSettings && i < settings.size(); i += 2) {
            if (!all.contains(settings.get(i))) {
                all.addAll(place, settings.subList(i, i + 2));
            }
        }
        var err = new StringWriter();
        String[] words = all.toArray(String[]::new);
        CommandLine commandLine = RekindleCommand.commandLine(words).setOut(out).setErr(new PrintWriter(err, true));
        int exitCode = commandLine.execute(words);
        return new Outcome(exitCode, "", err.toString());
    }

    /** Likewise with a terminal of its own, on which it sees the test's settings; what it prints is all of {@code out}. */
    Outcome onTerminal(String... arguments) throws IOException, InterruptedException {
        var all = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin/java").toString(),
                "--enable-native-access=ALL-UNNAMED",
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-Drekindle.library.path=" + NATIVE.resolve("lib"),
                "-cp",
                System.getProperty("java.class.path"),
                RekindleCommand.class.getName()));
        all.addAll(List.of(arguments));
        String line = all.stream().map(word -> "'" + word + "'").collect(Collectors.joining(" "));
        ProcessBuilder builder = new ProcessBuilder("script", "-qec", line, "/dev/null")
                .redirectErrorStream(true)
                .redirectInput(new File("/dev/null"));
        builder.environment().put("REKINDLE_CUDA_DRIVER", settings.get(1));
        builder.environment().put("REKINDLE_POOL_SOCKET", settings.get(3));
        Process terminal = builder.start();
        String output = new String(terminal.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(terminal.waitFor(60, TimeUnit.SECONDS)).isTrue();
        return new Outcome(terminal.exitValue(), output, "");
    }

    /** What follows "run": the worker with 24 MiB of device memory. */
    static String[] worker(Path state, String... options) {
        var all = new ArrayList<>(List.of("run", "--json", "-e", "LD_LIBRARY_PATH=" + SIMULATED, "-o", state + ".log"));
        all.addAll(List.of(options));
        all.addAll(List.of(
                "--",
                NATIVE.resolve("bin/rekindle-worker").toString(),
                "--state",
                state.toString(),
                "--mib",
                "24",
                "--pieces",
                "6"));
        return all.toArray(String[]::new);
    }

    static String ask(Path state, String command) throws IOException, InterruptedException {
        await("the worker", () -> Files.exists(state) && Files.size(state) > 0);
        Process control = new ProcessBuilder(
                        NATIVE.resolve("bin/rekindle-worker-control").toString(),
                        "--timeout",
                        "120",
                        "--state",
                        state.toString(),
                        command)
                .redirectErrorStream(true)
                .start();
        String answer = new String(control.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(control.waitFor()).as(answer).isZero();
        return answer.strip();
    }

    static void kill(long pid) {
        ProcessHandle.of(pid).ifPresent(process -> {
            process.destroyForcibly();
            await("the end of " + pid, () -> !process.isAlive());
        });
    }

    static void await(String what, Callable<Boolean> condition) {
        long end = System.nanoTime() + 60_000_000_000L;
        try {
            while (!condition.call()) {
                assertThat(System.nanoTime()).as("waited in vain for " + what).isLessThan(end);
                Thread.sleep(5);
            }
        } catch (Exception failure) {
            throw new AssertionError(failure);
        }
    }
}
