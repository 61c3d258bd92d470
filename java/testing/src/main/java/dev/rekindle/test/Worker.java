// SPDX-License-Identifier: MIT
package dev.rekindle.test;

import dev.rekindle.Rekindle;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.function.BooleanSupplier;

/**
 * A process that holds device memory of the simulated driver and works with it, step by step; also after it was restored,
 * under the same process id. Any threads may use it.
 */
public final class Worker implements AutoCloseable {
    private static final Duration LIMIT = Duration.ofSeconds(60);

    private final Programs programs;
    private final Path state;
    private final Path log;
    private final List<Long> tree = new ArrayList<>();

    private Worker(Programs programs, Path state, Path log) {
        this.programs = programs;
        this.state = state;
        this.log = log;
    }

    static Worker start(SimulatedGpu gpu, Programs programs, String name, List<String> options) {
        Worker worker =
                new Worker(programs, gpu.folder().resolve(name), gpu.folder().resolve(name + ".log"));
        var command = new ArrayList<>(List.of(programs.worker().toString(), "--state", worker.state.toString()));
        command.addAll(List.of("--mib", "24", "--pieces", "6"));
        command.addAll(options);
        ProcessBuilder builder =
                new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(worker.log.toFile());
        builder.environment().keySet().removeIf(key -> key.startsWith("REKINDLE_") || key.equals("LD_PRELOAD"));
        try (Rekindle rekindle = gpu.rekindle().build()) {
            Process process = rekindle.prepare(gpu.use(builder)).start();
            worker.tree.add(process.pid());
            worker.await(
                    "to begin",
                    () -> !process.isAlive() || worker.state.toFile().length() > 0);
            worker.ask("wait-ready");
            process.descendants().map(ProcessHandle::pid).forEach(worker.tree::add);
            return worker;
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        } catch (RuntimeException failure) {
            worker.close();
            throw failure;
        }
    }

    /**
     * The process.
     *
     * @return its pid
     */
    public long pid() {
        return tree.getFirst();
    }

    /**
     * What it holds, read from the device.
     *
     * @return a checksum over all of its device memory
     * @throws IllegalStateException where it does not run
     */
    public String contents() {
        return ask("checksum");
    }

    /**
     * Gives it new contents in a part of every allocation.
     *
     * @throws IllegalStateException where it does not run
     */
    public void changeContents() {
        ask("change");
    }

    /**
     * Waits until it has made ten more steps with its device.
     *
     * @throws IllegalStateException where it does not run, or not on
     */
    public void awaitSteps() {
        ask("advance");
    }

    /**
     * Waits until the process and those below it are gone, so that their process ids are free for a restore.
     *
     * @throws IllegalStateException where they are still there after a minute
     */
    public void awaitEnd() {
        await("to end", () -> tree.stream().noneMatch(id -> Files.exists(Path.of("/proc/" + id))));
    }

    private String ask(String command) {
        try {
            Process control = new ProcessBuilder(programs.control().toString(), "--state", state.toString(), command)
                    .redirectErrorStream(true)
                    .start();
            String answer = new String(control.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            if (control.waitFor() != 0) {
                throw new IllegalStateException(
                        "worker %d: %s: %s%n%s".formatted(pid(), command, answer, Files.readString(log)));
            }
            return answer.strip();
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        } catch (InterruptedException interrupt) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted", interrupt);
        }
    }

    /** Ends it and those below it, restored or not. */
    @Override
    public void close() {
        tree.forEach(id -> ProcessHandle.of(id).ifPresent(ProcessHandle::destroyForcibly));
        awaitEnd();
    }

    /** Polls: there is nothing to wait on for what a foreign process does. */
    private void await(String what, BooleanSupplier condition) {
        long end = System.nanoTime() + LIMIT.toNanos();
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() - end > 0) {
                throw new IllegalStateException("waited in vain for worker " + tree + " " + what);
            }
            try {
                Thread.sleep(5);
            } catch (InterruptedException interrupt) {
                Thread.currentThread().interrupt();
                throw new IllegalStateException("interrupted", interrupt);
            }
        }
    }
}
