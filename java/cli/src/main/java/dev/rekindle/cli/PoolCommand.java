// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.ErrorCode;
import dev.rekindle.PoolException;
import dev.rekindle.PoolStatistics;
import dev.rekindle.Rekindle;
import dev.rekindle.WarmPool;
import java.io.File;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "pool",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        description = "Start, watch, fill and stop rekindled, the warm pool.",
        synopsisSubcommandLabel = "COMMAND")
final class PoolCommand {
    private static final Duration LIMIT = Duration.ofSeconds(60);

    /** What {@code --json} prints. */
    record Document(PoolView pool) {}

    /** What {@code --json} prints of a pool that has ended. */
    record Stopped(long pid) {}

    /** What {@code --json} prints of images that are prefetched, or no longer. */
    record Images(Path directory, boolean prefetched) {}

    @Command(mixinStandardHelpOptions = true, description = "Start rekindled and wait until it is warm.")
    int start(
            @Mixin Settings settings,
            @Mixin Output output,
            @Option(names = "--program", paramLabel = "FILE", description = "The rekindled program.") @Nullable
                    Path program,
            @Option(
                            names = "--log",
                            paramLabel = "FILE",
                            description = "Where its log goes.",
                            defaultValue = "/dev/null")
                    File log)
            throws InterruptedException {
        try (Rekindle rekindle = settings.open()) {
            var builder = new ProcessBuilder((program == null ? rekindle.poolProgram() : program).toString())
                    .redirectInput(new File("/dev/null"))
                    .redirectOutput(ProcessBuilder.Redirect.appendTo(log))
                    .redirectError(ProcessBuilder.Redirect.appendTo(log));
            settings.export(builder.environment());
            Process process = start(builder);
            boolean runs = false;
            try {
                PoolView pool = awaitWarmth(rekindle, process);
                runs = true;
                output.print(
                        new Document(pool),
                        "rekindled runs with pid %d and %d warm contexts".formatted(pool.pid(), pool.contexts()));
                return 0;
            } finally {
                if (!runs) {
                    process.destroy();
                }
            }
        }
    }

    private static PoolView awaitWarmth(Rekindle rekindle, Process process) throws InterruptedException {
        long end = System.nanoTime() + LIMIT.toNanos();
        while (true) {
            try (WarmPool pool = rekindle.connectPool()) {
                PoolStatistics statistics = pool.statistics();
                if (statistics.pid() != process.pid()) {
                    throw new CommandException(ErrorCode.BUSY, "a pool runs already, with pid " + statistics.pid());
                }
                if (statistics.contexts() > 0 || System.nanoTime() > end) {
                    return PoolView.of(pool);
                }
                Thread.sleep(10);
            } catch (PoolException notYet) {
                if (process.waitFor(50, TimeUnit.MILLISECONDS)) {
                    throw new CommandException(
                            ErrorCode.POOL_DIED,
                            "rekindled ended with exit code " + process.exitValue() + "; --log FILE keeps its log");
                }
                if (System.nanoTime() > end) {
                    throw notYet;
                }
            }
        }
    }

    private static Process start(ProcessBuilder builder) {
        try {
            return builder.start();
        } catch (IOException failure) {
            // Its own sentence begins with the program and the folder, and ends with the reason.
            String reason = failure.getCause() instanceof IOException cause ? cause.getMessage() : failure.getMessage();
            throw new IllegalArgumentException(
                    "rekindled cannot be started as %s, with its log in %s (%s): name them with --program and --log"
                            .formatted(
                                    builder.command().getFirst(),
                                    builder.redirectOutput().file(),
                                    reason),
                    failure);
        }
    }

    @Command(
            mixinStandardHelpOptions = true,
            description =
                    "Show what the pool has done and holds: contexts, copy buffers, the memory of each GPU, the images in"
                            + " device memory, and how often a restore found its image there.")
    int status(@Mixin Settings settings, @Mixin Output output) {
        try (Rekindle rekindle = settings.open();
                WarmPool pool = rekindle.connectPool()) {
            PoolView view = PoolView.of(pool);
            output.print(new Document(view), out -> tables(view, out));
            return 0;
        }
    }

    private static void tables(PoolView pool, PrintWriter out) {
        if (pool.simulated()) {
            out.println("SIMULATED GPU");
        }
        Table table = new Table(
                "PID",
                "UPTIME",
                "WORKERS",
                "CONTEXTS",
                "RESTORES",
                "CHECKPOINTS",
                "TO DEVICE",
                "FROM DEVICE",
                "RING",
                "HELD",
                "RUNS");
        table.row(
                pool.pid(),
                Texts.seconds(pool.uptimeSeconds()),
                pool.workers(),
                pool.contexts(),
                pool.restores(),
                pool.checkpoints(),
                Texts.bytes(pool.toDeviceBytes()),
                Texts.bytes(pool.fromDeviceBytes()),
                Texts.bytes(pool.ringBytes()),
                Texts.bytes(pool.deviceHeldBytes()),
                pool.runs());
        table.print(out);
        out.println();
        Table gpus = gpus(pool);
        if (!gpus.isEmpty()) {
            gpus.print(out);
            out.println();
        }
        Table images = images(pool);
        if (images.isEmpty()) {
            out.println("no images in device memory");
        } else {
            images.print(out);
        }
        long all = pool.imagesResident() + pool.imagesRead();
        if (all > 0) {
            out.println();
            out.println("%d of %d restored GPU images lay in device memory already, %d had to be read: hit rate %s"
                    .formatted(
                            pool.imagesResident(),
                            all,
                            pool.imagesRead(),
                            Texts.percent((double) pool.imagesResident() / all)));
        }
    }

    private static Table gpus(PoolView pool) {
        Table table = new Table("GPU", "MODEL", "UUID", "CONTEXT", "HELD", "FREE", "MEMORY");
        for (PoolView.Gpu gpu : pool.gpus()) {
            Long free = gpu.freeBytes();
            table.row(
                    gpu.number(),
                    gpu.model(),
                    gpu.uuid(),
                    gpu.warm() ? "warm" : "-",
                    Texts.bytes(gpu.heldBytes()),
                    free == null ? "-" : Texts.bytes(free),
                    Texts.bytes(gpu.memoryBytes()));
        }
        return table;
    }

    private static Table images(PoolView pool) {
        Table table = new Table("IMAGES", "STATE", "TAKEN", "PROCESSES", "FILLED", "SIZE", "AGE", "CAME BY");
        for (PoolView.Images images : pool.images()) {
            table.row(
                    Texts.orDash(images.directory().map(Path::toString).orElse("")),
                    Texts.lower(images.state()),
                    images.taken() ? "by a run" : "-",
                    images.processes(),
                    Texts.bytes(images.filledBytes()),
                    Texts.bytes(images.bytes()),
                    Texts.seconds(images.ageSeconds()),
                    images.parked() ? "parking" : "prefetch");
        }
        return table;
    }

    @Command(mixinStandardHelpOptions = true, description = "Stop rekindled, after its runs.")
    int stop(@Mixin Settings settings, @Mixin Output output) throws InterruptedException {
        long pid;
        try (Rekindle rekindle = settings.open();
                WarmPool pool = rekindle.connectPool()) {
            pid = pool.statistics().pid();
        }
        ProcessHandle process = ProcessHandle.of(pid)
                .orElseThrow(() ->
                        new CommandException(ErrorCode.POOL_DIED, "the pool, pid " + pid + ", has ended by itself"));
        process.destroy();
        long end = System.nanoTime() + LIMIT.toNanos();
        while (process.isAlive()) {
            if (System.nanoTime() > end) {
                throw new CommandException(
                        ErrorCode.TIMEOUT, "the pool, pid " + pid + ", did not end within " + LIMIT.toSeconds() + " s");
            }
            Thread.sleep(20);
        }
        output.print(new Stopped(pid), "rekindled with pid " + pid + " has ended");
        return 0;
    }

    @Command(
            mixinStandardHelpOptions = true,
            description = "Fill device memory from the GPU images in a folder; the next restore of it finds that done.")
    int prefetch(
            @Mixin Settings settings,
            @Mixin Output output,
            @Parameters(paramLabel = "DIR", description = "Where the images are.") Path directory) {
        try (Rekindle rekindle = settings.open();
                WarmPool pool = rekindle.connectPool()) {
            pool.prefetch(directory);
            output.print(new Images(directory, true), "device memory is filled from " + directory + " from now on");
            return 0;
        }
    }

    @Command(mixinStandardHelpOptions = true, description = "Give up what prefetch holds for a folder.")
    int drop(
            @Mixin Settings settings,
            @Mixin Output output,
            @Parameters(paramLabel = "DIR", description = "Where the images are.") Path directory) {
        try (Rekindle rekindle = settings.open();
                WarmPool pool = rekindle.connectPool()) {
            pool.drop(directory);
            output.print(new Images(directory, false), "nothing of " + directory + " is held any more");
            return 0;
        }
    }
}
