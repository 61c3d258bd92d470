// SPDX-License-Identifier: MIT
package dev.rekindle.test;

import dev.rekindle.Rekindle;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * The simulated driver, and a folder for what a test makes with it. Any threads may use it.
 */
public final class SimulatedGpu implements AutoCloseable {
    private final Programs programs;
    private final Path folder;
    private final List<Worker> workers = new CopyOnWriteArrayList<>();
    private final AtomicInteger names = new AtomicInteger();

    SimulatedGpu(Programs programs, Path folder) {
        this.programs = programs;
        this.folder = folder.toAbsolutePath();
    }

    /**
     * Unpacks the driver, for tests that {@link SimulatedGpuExtension} does not serve.
     *
     * @param folder where everything goes: a folder of its own, that only root and the present user can write to
     * @return the driver; it needs the folder as long as a process uses it
     * @throws UncheckedIOException where the folder cannot be written
     */
    public static SimulatedGpu open(Path folder) {
        Objects.requireNonNull(folder, "folder");
        return new SimulatedGpu(Programs.unpack(folder.resolve("simulated")), folder);
    }

    /**
     * The folder of the test.
     *
     * @return its absolute path
     */
    public Path folder() {
        return folder;
    }

    /**
     * The simulated driver, for settings of one's own.
     *
     * @return the absolute path of its library
     */
    public Path driver() {
        return programs.driver().toAbsolutePath();
    }

    /**
     * Settings for the simulated driver: relative image folders are in {@link #folder}, and so is the pool's socket.
     *
     * @return a builder of its own
     */
    public Rekindle.Builder rekindle() {
        return Rekindle.builder()
                .cudaDriver(programs.driver())
                .poolSocket(folder.resolve("pool.sock"))
                .imagesRoot(folder);
    }

    /**
     * Makes a program find the simulated driver where it looks for {@code libcuda.so.1}. It is not made ready to be
     * checkpointed by this: {@link Rekindle#prepare} does that.
     *
     * @param program what is to be started: its environment is changed
     * @return the same
     */
    public ProcessBuilder use(ProcessBuilder program) {
        Map<String, String> environment =
                Objects.requireNonNull(program, "program").environment();
        String others = environment.getOrDefault("LD_LIBRARY_PATH", "");
        String own = String.valueOf(programs.driver().getParent());
        environment.put("LD_LIBRARY_PATH", others.isEmpty() ? own : own + ":" + others);
        return program;
    }

    /**
     * Starts a process that holds device memory and works with it, ready to be checkpointed, and waits until its contents
     * are in place.
     *
     * @param options of {@code rekindle-worker}: {@code --mib N} for how much memory (24 where it is not said),
     *     {@code --pieces K} for how many allocations (6), {@code --children C} for as many more such processes below it
     * @return the process, which ends with this object
     * @throws IllegalStateException where it does not start; the message has what it said
     * @throws dev.rekindle.RekindleException where the agent is not there
     */
    public Worker startWorker(String... options) {
        List<String> all = List.of(Objects.requireNonNull(options, "options"));
        Worker worker = Worker.start(this, programs, "worker-" + names.getAndIncrement(), all);
        workers.add(worker);
        return worker;
    }

    /** Ends its workers, restored or not. Closing twice does nothing. */
    @Override
    public void close() {
        workers.forEach(Worker::close);
    }

    static void delete(Path folder) {
        try (var paths = Files.walk(folder)) {
            for (Path path : paths.sorted(Comparator.reverseOrder()).toList()) {
                Files.deleteIfExists(path);
            }
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }
}
