// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A JVM that ends in the middle of a run: nothing is lost, and nothing goes on without it. */
class JvmEndTest {
    /** One worker that takes a moment for each block: the copies last for a while. */
    private static final Map<String, String> SLOW_COPIES = Map.of(
            "CRIU_CUDA_STREAMS",
            "1",
            "REKINDLE_CHUNK_SIZE",
            "2M",
            "REKINDLE_SIMCUDA_DELAY",
            "cuMemcpyDtoHAsync=500ms,cuMemcpyHtoDAsync=500ms");

    @TempDir
    private Path folder;

    /** Says when it is in the middle of the copy, and how the run has ended. */
    static final class Run {
        public static void main(String[] arguments) {
            Path folder = Path.of(arguments[0]);
            long pid = Long.parseLong(arguments[1]);
            var said = new AtomicBoolean();
            ProgressListener listener = (done, total, phase) -> {
                if (done > 0 && done < total && !said.getAndSet(true)) {
                    System.out.println("in the middle");
                }
            };
            Rekindle rekindle = TestMachine.rekindle(folder).build();
            Thread main = Thread.currentThread();
            if (arguments.length == 2) {
                Runtime.getRuntime().addShutdownHook(new Thread(() -> beginUntilRefused(rekindle, main)));
            }
            try {
                if (pid == 0) {
                    rekindle.restore(RestoreRequest.builder(folder.resolve("images"))
                            .progress(listener)
                            .build());
                } else if (arguments.length == 2) {
                    rekindle.checkpoint(CheckpointRequest.builder(pid, folder.resolve("images"))
                            .timeout(Duration.ofSeconds(60))
                            .progress(listener)
                            .build());
                } else {
                    rekindle.checkpoint(CheckpointRequest.builder(pid, folder.resolve("images"))
                            .timeout(Duration.ofSeconds(60))
                            .progress((done, total, phase) -> System.exit(5))
                            .build());
                }
                System.out.println("it went through");
            } catch (RekindleException failure) {
                System.out.println(failure.code() + ": " + failure.getMessage());
            }
        }

        /** The hooks of a JVM run side by side. It ends when all have ended, whatever its other threads still do. */
        private static void beginUntilRefused(Rekindle rekindle, Thread main) {
            boolean refused = false;
            while (!refused) {
                try {
                    rekindle.restore(RestoreRequest.of(Path.of("/nonexistent")));
                } catch (NoImageException notYet) {
                    refused = false;
                } catch (RekindleException ending) {
                    System.out.println("refused: " + ending.code() + ": " + ending.getMessage());
                    refused = true;
                }
            }
            try {
                main.join();
            } catch (InterruptedException never) {
                throw new IllegalStateException(never);
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"INT, 130", "TERM, 143", "HUP, 129"})
    void signalInTheMiddleOfADump(String signal, int exitStatus) throws Exception {
        try (Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            Ended ended = signalled(signal, worker.pid());
            assertThat(ended.exitStatus()).as(ended.output()).isEqualTo(exitStatus);
            assertThat(ended.output())
                    .contains("CANCELLED: The checkpoint of process " + worker.pid()
                            + " was cancelled; the process runs as before.")
                    .contains("refused: CANCELLED: interrupted before it began")
                    .doesNotContain("it went through");
            worker.advance();
            assertThat(worker.checksum()).isEqualTo(before);
            // Nothing of it goes on that would be in the way.
            try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
                rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
                worker.awaitEnd();
                rekindle.restore(RestoreRequest.of(Path.of("images")));
            }
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }

    @ParameterizedTest
    @CsvSource({"INT, 130", "TERM, 143"})
    void signalInTheMiddleOfARestore(String signal, int exitStatus) throws Exception {
        try (Worker worker = Worker.start(folder, "worker");
                Rekindle rekindle = TestMachine.rekindle(folder).build()) {
            String before = worker.checksum();
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
            worker.awaitEnd();
            Ended ended = signalled(signal, 0);
            assertThat(ended.exitStatus()).as(ended.output()).isEqualTo(exitStatus);
            assertThat(ended.output())
                    .contains("CANCELLED: ")
                    .containsAnyOf("no process is left", "restored by then, was ended")
                    .doesNotContain("it went through");
            worker.awaitEnd();
            rekindle.restore(RestoreRequest.of(Path.of("images")));
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }

    /** The run cannot be waited for then, and the JVM ends all the same. */
    @Test
    void listenerThatEndsTheJvm() throws Exception {
        try (Worker worker = Worker.start(folder, "worker")) {
            Process jvm =
                    ChildJvm.start(Run.class, SLOW_COPIES, folder.toString(), String.valueOf(worker.pid()), "exit");
            String output = new String(jvm.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertThat(jvm.waitFor(60, TimeUnit.SECONDS)).as(output).isTrue();
            assertThat(jvm.exitValue()).as(output).isEqualTo(5);
            assertThat(output).contains("a listener or a hook of a run has ended the JVM");
            // CRIU goes on without it, to its end.
            Worker.await("the dump", () -> !Files.exists(Path.of("/proc/" + worker.pid())));
        }
    }

    /** A look at images is a run too. */
    static final class Look {
        public static void main(String[] arguments) {
            CheckpointImage.open(Path.of(arguments[0])).verify((done, total, phase) -> System.exit(5));
        }
    }

    @Test
    void listenerOfALookThatEndsTheJvm() throws Exception {
        try (Worker worker = Worker.start(folder, "worker");
                Rekindle rekindle = TestMachine.rekindle(folder).build()) {
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
        }
        Process jvm =
                ChildJvm.start(Look.class, Map.of(), folder.resolve("images").toString());
        try {
            assertThat(jvm.waitFor(60, TimeUnit.SECONDS)).isTrue();
            String output = new String(jvm.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertThat(jvm.exitValue()).as(output).isEqualTo(5);
        } finally {
            jvm.destroyForcibly();
        }
    }

    private record Ended(int exitStatus, String output) {}

    /** Sends the signal in the middle of the copy. */
    private Ended signalled(String signal, long pid) throws Exception {
        Process jvm = ChildJvm.start(Run.class, SLOW_COPIES, folder.toString(), String.valueOf(pid));
        var begun = new CountDownLatch(1);
        var output = new StringBuilder();
        try (BufferedReader lines =
                new BufferedReader(new InputStreamReader(jvm.getInputStream(), StandardCharsets.UTF_8))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                output.append(line).append('\n');
                if (line.equals("in the middle")) {
                    begun.countDown();
                    new ProcessBuilder("kill", "-" + signal, String.valueOf(jvm.pid()))
                            .start()
                            .waitFor();
                }
            }
            assertThat(begun.getCount()).as(output.toString()).isZero();
            return new Ended(jvm.waitFor(), output.toString());
        } finally {
            jvm.destroyForcibly();
        }
    }
}
