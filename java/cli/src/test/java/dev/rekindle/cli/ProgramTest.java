// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** {@code java/bin/rekindle} as it is started: what it finds by itself, and what a signal does. */
class ProgramTest {
    private static final Path NATIVE = Path.of(System.getProperty("rekindle.native.build"));
    private static final Path SOURCE = Path.of(System.getProperty("rekindle.native.source"));
    private static final Path LIBRARIES = NATIVE.resolve("lib");

    @TempDir
    private Path folder;

    private Path program = Path.of("");

    /**
     * A checkout as it is after a build: its native parts are those of this one, and what stands for a JDK runs the classes
     * of this test instead of the jar, which is packed only after the tests.
     */
    @BeforeEach
    void makeACheckout() throws Exception {
        Path checkout = folder.resolve("checkout");
        program = checkout.resolve("java/bin/rekindle");
        Files.createDirectories(program.getParent());
        Files.copy(SOURCE.resolveSibling("java/bin/rekindle"), program);
        Files.createSymbolicLink(checkout.resolve("native"), SOURCE);
        Files.createFile(Files.createDirectories(checkout.resolve("java/cli/target"))
                .resolve("rekindle-cli-0.1.0-SNAPSHOT.jar"));
        Path home = Path.of(System.getProperty("java.home"));
        Path jdk = folder.resolve("jdk");
        Path java = Files.createDirectories(jdk.resolve("bin")).resolve("java");
        Files.createSymbolicLink(jdk.resolve("release"), home.resolve("release"));
        Files.writeString(java, """
                #!/bin/bash
                arguments=()
                while [ $# -gt 0 ]; do
                    case $1 in
                    -jar) arguments+=(-cp '%s' dev.rekindle.cli.RekindleCommand); shift 2 ;;
                    *) arguments+=("$1"); shift ;;
                    esac
                done
                exec '%s' "${arguments[@]}"
                """.formatted(System.getProperty("java.class.path"), home.resolve("bin/java")));
        assertThat(java.toFile().setExecutable(true)).isTrue();
    }

    /** Right after a build, with no setting at all. */
    @Test
    void buildIsFoundByItself() throws Exception {
        Process check = start(Map.of(), "check");
        String output = new String(check.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(check.waitFor()).as(output).isZero();
        assertThat(output).contains("looks good");

        Path socket = folder.resolve("pool.sock");
        var simulated = Map.of(
                "REKINDLE_CUDA_DRIVER",
                LIBRARIES.resolve("simcuda/libcuda.so.1").toString());
        Process pool = start(simulated, "pool", "start", "--pool-socket", socket.toString());
        output = new String(pool.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(pool.waitFor()).as(output).isZero();
        assertThat(start(simulated, "pool", "stop", "--pool-socket", socket.toString())
                        .waitFor())
                .isZero();
    }

    /** In the C locale, as services and containers have it, the JVM would take another name for it. */
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            C       | inspect none                  | 2  | the name of this folder
            C       | run -o log -- echo $'\\303\\244' | 2  | an argument
            C       | inspect $'\\303\\244'          | 2  | an argument
            C.UTF-8 | inspect none                  | 11 | none
            C.UTF-8 | inspect $'\\344'              | 2  | an argument
            """)
    void nameThatTheLocaleDoesNotHaveIsRefused(String locale, String command, int exitStatus, String named)
            throws Exception {
        String place = command.contains("303") ? "plain" : "$'\\303\\244'";
        Process refused = shell(
                Map.of("LC_ALL", locale), "cd \"$1\" && mkdir " + place + " && cd " + place + " && \"$0\" " + command);
        String output = new String(refused.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(refused.waitFor()).as(output).isEqualTo(exitStatus);
        assertThat(output).startsWith("rekindle: ").contains(named);
    }

    @Test
    void fullStandardOutputIsSaid() throws Exception {
        Process help = shell(Map.of(), "\"$0\" help 2>&1 >/dev/full");
        String output = new String(help.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(help.waitFor()).isEqualTo(1);
        assertThat(output).isEqualTo("rekindle: " + Output.LOST + "\n");
    }

    /** As head has it, which ends when it has read enough. */
    @ParameterizedTest
    @ValueSource(strings = {"help", "check", "metrics --pool-socket none"})
    void readerThatHasGoneIsNoFailure(String command) throws Exception {
        assertThat(withoutReader(command)).isEqualTo("141\n");
    }

    /** What was done is said all the same: nobody else knows of this process. */
    @Test
    void whatIsDoneIsSaidWithoutAReaderToo() throws Exception {
        String output = withoutReader("run -o \"$1/log\" -- sleep 1000");
        Matcher said = Pattern.compile("rekindle: sleep runs with pid (\\d+), but " + Output.LOST + "\n1\n")
                .matcher(output);
        assertThat(said.matches()).as(output).isTrue();
        ProcessHandle.of(Long.parseLong(said.group(1))).orElseThrow().destroyForcibly();
    }

    /** What a command says where nobody reads its standard output, and then its status. */
    private String withoutReader(String command) throws Exception {
        Process shell = shell(Map.of(), "exec 3> >(:); wait $!; \"$0\" " + command + " >&3; echo $?");
        return new String(shell.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    }

    @Test
    void criuOfTheEnvironmentGoesFirst() throws Exception {
        Process check = start(Map.of("REKINDLE_CRIU", "/nonexistent/criu"), "check");
        String output = new String(check.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(check.waitFor()).isEqualTo(7);
        assertThat(output).startsWith("rekindle: ").contains("/nonexistent/criu");
    }

    /** The package takes it back when it is removed, whatever is left of it by then. */
    @Test
    void setupIsTakenBackWithoutACriu() throws Exception {
        Path criu = Files.createDirectories(folder.resolve("root/etc/criu")).resolve("runc.conf");
        Files.writeString(criu, MarkedLines.BEGIN + "\nlibdir /gone\n" + MarkedLines.END + "\n");
        Process undo = start(
                Map.of("REKINDLE_CRIU", "/nonexistent/criu"),
                "setup",
                "podman",
                "--undo",
                "--root",
                folder.resolve("root").toString());
        String output = new String(undo.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(undo.waitFor()).as(output).isZero();
        assertThat(criu.getParent()).doesNotExist();
    }

    /** As a service: it answers this machine until it is ended, which is no failure. */
    @Test
    void metricsAreAnsweredUntilASignal() throws Exception {
        Process metrics = start(
                Map.of(),
                "metrics",
                "--listen",
                "0",
                "--pool-socket",
                folder.resolve("pool.sock").toString());
        try (BufferedReader output = metrics.inputReader()) {
            String line = output.readLine();
            assertThat(line).startsWith("http://127.0.0.1:");
            URI address = URI.create(line.split(" ", -1)[0]);
            HttpResponse<String> answer;
            try (var unfinished = new Socket(address.getHost(), address.getPort())) {
                unfinished.getOutputStream().write('G');
                answer = get(address);
            }
            assertThat(answer.statusCode()).isEqualTo(200);
            assertThat(answer.headers().firstValue("Content-Type"))
                    .hasValueSatisfying(type -> assertThat(type).startsWith("text/plain; version=0.0.4"));
            assertThat(answer.body()).contains("rekindle_pool_up 0.0");
            assertThat(get(address.resolve("/other")).statusCode()).isEqualTo(404);
            new ProcessBuilder("kill", "-TERM", String.valueOf(metrics.pid()))
                    .start()
                    .waitFor();
            assertThat(output.readLine()).isNull();
            assertThat(metrics.waitFor()).isZero();
        } finally {
            metrics.destroyForcibly();
        }
    }

    /** Who starts it learns of its port from a document of the schema, which is there while it answers. */
    @Test
    void metricsSayTheirAddressInADocument() throws Exception {
        Process metrics = start(
                Map.of(),
                "metrics",
                "--listen",
                "0",
                "--json",
                "--pool-socket",
                folder.resolve("pool.sock").toString());
        try (BufferedReader output = metrics.inputReader()) {
            var document = new StringBuilder();
            String line = "";
            while (line != null && !line.equals("}")) {
                line = output.readLine();
                document.append(line).append('\n');
            }
            var outcome = new Cli.Outcome(0, document.toString(), "");
            URI address = URI.create(outcome.json().get("address").getAsString());
            assertThat(get(address).body()).contains("rekindle_pool_up 0.0");
            new ProcessBuilder("kill", "-TERM", String.valueOf(metrics.pid()))
                    .start()
                    .waitFor();
            assertThat(output.readLine()).isNull();
            assertThat(metrics.waitFor()).isZero();
        } finally {
            metrics.destroyForcibly();
        }
    }

    private static HttpResponse<String> get(URI address) throws Exception {
        try (HttpClient client = HttpClient.newHttpClient()) {
            var question = HttpRequest.newBuilder(address)
                    .timeout(Duration.ofSeconds(30))
                    .build();
            return client.send(question, HttpResponse.BodyHandlers.ofString());
        }
    }

    @ParameterizedTest
    @CsvSource({"INT, 130", "TERM, 143"})
    void signalInTheMiddleOfACheckpoint(String signal, int exitStatus) throws Exception {
        Path state = folder.resolve("worker");
        Process worker = startWorker(state);
        try {
            String before = ask(state, "checksum");
            Path images = folder.resolve("images");
            Process checkpoint = start(
                    Map.of(
                            "CRIU_CUDA_STREAMS",
                            "1",
                            "REKINDLE_CHUNK_SIZE",
                            "2M",
                            "REKINDLE_SIMCUDA_DELAY",
                            "cuMemcpyDtoHAsync=500ms",
                            "REKINDLE_CUDA_DRIVER",
                            LIBRARIES.resolve("simcuda/libcuda.so.1").toString()),
                    "checkpoint",
                    String.valueOf(worker.pid()),
                    images.toString(),
                    "--quiet",
                    "--timeout",
                    "60",
                    "--pool-socket",
                    folder.resolve("pool.sock").toString());
            await("the middle of the copy", () -> copied(images) > 0 || !checkpoint.isAlive());
            new ProcessBuilder("kill", "-" + signal, String.valueOf(checkpoint.pid()))
                    .start()
                    .waitFor();
            String output = new String(checkpoint.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertThat(checkpoint.waitFor()).as(output).isEqualTo(exitStatus);
            assertThat(output.strip())
                    .isEqualTo("rekindle: The checkpoint of process " + worker.pid()
                            + " was cancelled; the process runs as before.");
            ask(state, "advance");
            assertThat(ask(state, "checksum")).isEqualTo(before);
        } finally {
            worker.destroyForcibly();
        }
    }

    /** In the middle of a swap neither runs then, and that is said, with the way out. */
    @Test
    void signalInTheMiddleOfASwap() throws Exception {
        Path one = folder.resolve("one");
        Path two = folder.resolve("two");
        Map<String, String> slowly = Map.of(
                "CRIU_CUDA_STREAMS",
                "1",
                "REKINDLE_CHUNK_SIZE",
                "2M",
                "REKINDLE_SIMCUDA_DELAY",
                "cuMemcpyHtoDAsync=500ms",
                "REKINDLE_CUDA_DRIVER",
                LIBRARIES.resolve("simcuda/libcuda.so.1").toString(),
                "REKINDLE_POOL_SOCKET",
                folder.resolve("pool.sock").toString());
        Process first = startWorker(folder.resolve("first"));
        Process second = startWorker(folder.resolve("second"));
        try {
            Process dump = start(slowly, "dump", String.valueOf(second.pid()), two.toString());
            String dumped = new String(dump.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertThat(dump.waitFor()).as(dumped).isZero();
            second.waitFor();
            Files.deleteIfExists(two.resolve("rekindle.progress"));
            Process swap = start(
                    slowly, "swap", one.toString(), two.toString(), "--pid", String.valueOf(first.pid()), "--quiet");
            await("the middle of the restore", () -> copied(two) > 0 || !swap.isAlive());
            new ProcessBuilder("kill", "-INT", String.valueOf(swap.pid()))
                    .start()
                    .waitFor();
            String output = new String(swap.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertThat(swap.waitFor()).as(output).isEqualTo(130);
            assertThat(output)
                    .contains("interrupted before it began")
                    .contains("neither service runs: 'rekindle restore " + one + "' or 'rekindle restore " + two + "'")
                    .contains("The restore of " + two + " was cancelled");
            Process restore = start(slowly, "restore", one.toString(), "--quiet");
            String back = new String(restore.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertThat(restore.waitFor()).as(back).isZero();
            ask(folder.resolve("first"), "advance");
            ProcessHandle.of(Long.parseLong(back.strip())).ifPresent(ProcessHandle::destroyForcibly);
        } finally {
            first.destroyForcibly();
            second.destroyForcibly();
        }
    }

    /** What the pool says of its progress: the second of three numbers, after two half ones. */
    private static long copied(Path images) throws IOException {
        try {
            byte[] bytes = Files.readAllBytes(images.resolve("rekindle.progress"));
            return bytes.length < 24
                    ? 0
                    : ByteBuffer.wrap(bytes).order(ByteOrder.nativeOrder()).getLong(8);
        } catch (java.nio.file.NoSuchFileException notYet) {
            return 0;
        }
    }

    private Process startWorker(Path state) throws Exception {
        ProcessBuilder builder = new ProcessBuilder(
                        "setsid",
                        NATIVE.resolve("bin/rekindle-worker").toString(),
                        "--state",
                        state.toString(),
                        "--mib",
                        "24",
                        "--pieces",
                        "6")
                .redirectInput(new File("/dev/null"))
                .redirectErrorStream(true)
                .redirectOutput(folder.resolve("worker.log").toFile());
        builder.environment()
                .put("LD_LIBRARY_PATH", LIBRARIES.resolve("simcuda").toString());
        builder.environment()
                .put("LD_PRELOAD", LIBRARIES.resolve("librekindle-preload.so").toString());
        Process worker = builder.start();
        await("the worker", () -> Files.exists(state) && Files.size(state) > 0);
        ask(state, "wait-ready");
        return worker;
    }

    private static String ask(Path state, String command) throws Exception {
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

    private Process start(Map<String, String> environment, String... arguments) throws IOException {
        var command = new ArrayList<>(List.of(program.toString()));
        command.addAll(List.of(arguments));
        return start(environment, command);
    }

    /** A command in which $0 is the program, and $1 the folder of the test. */
    private Process shell(Map<String, String> environment, String command) throws IOException {
        return start(environment, List.of("bash", "-c", command, program.toString(), folder.toString()));
    }

    private Process start(Map<String, String> environment, List<String> command) throws IOException {
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
        builder.environment()
                .keySet()
                .removeIf(name ->
                        name.startsWith("REKINDLE_") || (name.startsWith("CRIU_") && !name.equals("CRIU_CONFIG_FILE")));
        builder.environment().put("JAVA25_HOME", folder.resolve("jdk").toString());
        builder.environment().putAll(environment);
        return builder.start();
    }

    private static void await(String what, Callable<Boolean> condition) throws Exception {
        long end = System.nanoTime() + 120_000_000_000L;
        while (!condition.call()) {
            assertThat(System.nanoTime()).as("waited in vain for " + what).isLessThan(end);
            Thread.sleep(5);
        }
    }
}
