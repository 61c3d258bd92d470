// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.BooleanSupplier;

/** The worker program: holds device memory of the simulated driver, and tells from outside whether it is as it was. */
final class Worker implements AutoCloseable {
    private static final Duration LIMIT = Duration.ofMinutes(2);

    private final Path state;
    private final long pid;
    private final List<Long> tree = new ArrayList<>();

    private Worker(Path state, long pid) {
        this.state = state;
        this.pid = pid;
    }

    /** With the agent preloaded and 24 MiB of device memory in 6 pieces, unless the arguments say otherwise. */
    static Worker start(Path folder, String name, String... arguments) throws IOException {
        return start(folder, name, true, arguments);
    }

    static Worker start(Path folder, String name, boolean agent, String... arguments) throws IOException {
        return start(folder, name, agent, Map.of(), arguments);
    }

    /** On a machine with two GPUs, where the pool is on such a one too. */
    static Worker startOnTwoGpus(Path folder, String name, String... arguments) throws IOException {
        return start(folder, name, true, PoolProcess.TWO_GPUS, arguments);
    }

    private static Worker start(
            Path folder, String name, boolean agent, Map<String, String> variables, String... arguments)
            throws IOException {
        Path state = folder.resolve(name);
        var command = new ArrayList<>(List.of("setsid", program("rekindle-worker"), "--state", state.toString()));
        command.addAll(List.of("--mib", "24", "--pieces", "6"));
        command.addAll(List.of(arguments));
        ProcessBuilder builder = new ProcessBuilder(command)
                .redirectInput(new File("/dev/null"))
                .redirectErrorStream(true)
                .redirectOutput(folder.resolve(name + ".log").toFile());
        var environment = builder.environment();
        environment.keySet().removeIf(key -> key.startsWith("REKINDLE_") || key.equals("LD_PRELOAD"));
        environment.put(
                "LD_LIBRARY_PATH", TestMachine.LIBRARY_FOLDER.resolve("simcuda").toString());
        environment.put(
                "REKINDLE_SIMCUDA_CONTROL", folder.resolve(name + ".rules").toString());
        environment.putAll(variables);
        if (agent) {
            environment.put("LD_PRELOAD", TestMachine.AGENT.toString());
        }
        Process process = builder.start();
        Worker worker = new Worker(state, process.pid());
        await(
                "the worker to begin: " + state + ".log",
                () -> Files.exists(state) && state.toFile().length() > 0);
        worker.ask("wait-ready");
        worker.tree.add(process.pid());
        process.descendants().map(ProcessHandle::pid).forEach(worker.tree::add);
        return worker;
    }

    long pid() {
        return pid;
    }

    String checksum() throws IOException {
        return ask("checksum");
    }

    /** The UUIDs of the GPUs that it uses. */
    String gpus() throws IOException {
        return ask("gpus");
    }

    /** Waits until it has made ten more steps with its device. */
    void advance() throws IOException {
        ask("advance");
    }

    void change() throws IOException {
        ask("change");
    }

    /** Sets what goes wrong in the driver calls of the worker itself; nothing goes wrong with no rules. */
    void inject(String... rules) throws IOException {
        Path file = Path.of(state + ".rules");
        Path next = Files.write(Path.of(state + ".rules.new"), List.of(rules));
        Files.move(next, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    }

    /** Waits until the whole tree is gone, and its process ids are free for a restore. */
    void awaitEnd() {
        await("worker " + tree + " to end", () -> tree.stream().noneMatch(id -> Files.exists(Path.of("/proc/" + id))));
    }

    private String ask(String command) throws IOException {
        Process control = new ProcessBuilder(
                        program("rekindle-worker-control"), "--timeout", "120", "--state", state.toString(), command)
                .redirectErrorStream(true)
                .start();
        String answer = new String(control.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        try {
            assertThat(control.waitFor())
                    .as("%s: %s%n%s", command, answer, Files.readString(Path.of(state + ".log")))
                    .isZero();
        } catch (InterruptedException interrupt) {
            throw new IllegalStateException(interrupt);
        }
        return answer.strip();
    }

    /** Ends it, restored or not. */
    @Override
    public void close() {
        tree.forEach(id -> ProcessHandle.of(id).ifPresent(ProcessHandle::destroyForcibly));
        awaitEnd();
    }

    private static String program(String name) {
        return TestMachine.NATIVE.resolve("bin").resolve(name).toString();
    }

    /** Polls: there is nothing to wait on for what a foreign process does. */
    static void await(String what, BooleanSupplier condition) {
        long end = System.nanoTime() + LIMIT.toNanos();
        while (!condition.getAsBoolean()) {
            assertThat(System.nanoTime()).as("waited in vain for " + what).isLessThan(end);
            try {
                Thread.sleep(5);
            } catch (InterruptedException interrupt) {
                throw new IllegalStateException(interrupt);
            }
        }
    }
}
