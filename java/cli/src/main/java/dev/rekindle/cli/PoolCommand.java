// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.ErrorCode;
import dev.rekindle.PoolException;
import dev.rekindle.PoolStatistics;
import dev.rekindle.Rekindle;
import dev.rekindle.Tier;
import dev.rekindle.WarmPool;
import java.io.File;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;
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
            throws IOException, InterruptedException {
        try (Rekindle rekindle = settings.open()) {
            Path problems = Files.createTempFile("rekindle-pool-", ".log");
            String[] words = {
                (program == null ? rekindle.poolProgram() : program).toString(), "--problems", problems.toString()
            };
            var builder = new ProcessBuilder(words)
                    .redirectInput(new File("/dev/null"))
                    .redirectOutput(ProcessBuilder.Redirect.appendTo(log))
                    .redirectError(ProcessBuilder.Redirect.appendTo(log));
            settings.export(builder.environment());
            Process process = null;
            boolean runs = false;
            try {
                process = start(builder);
                PoolView pool = awaitWarmth(rekindle, process, problems);
                runs = true;
                output.print(
                        new Document(pool),
                        "rekindled runs with pid %d and %d warm contexts".formatted(pool.pid(), pool.contexts()));
                return 0;
            } catch (InterruptedException early) {
                var interrupted =
                        new CommandException(ErrorCode.CANCELLED, "interrupted: rekindled, which had begun, was ended");
                interrupted.initCause(early);
                throw interrupted;
            } finally {
                if (process != null && !runs) {
                    process.destroy();
                }
                Files.deleteIfExists(problems);
            }
        }
    }

    /** What it says of a GPU that it cannot use, and that a run will try again. */
    private static final String LATER = "; the pool tries again when a run needs it";

    private static PoolView awaitWarmth(Rekindle rekindle, Process process, Path problems)
            throws IOException, InterruptedException {
        long end = System.nanoTime() + LIMIT.toNanos();
        while (true) {
            try (WarmPool pool = rekindle.connectPool()) {
                PoolStatistics statistics = pool.statistics();
                if (statistics.pid() != process.pid()) {
                    throw new CommandException(ErrorCode.BUSY, "a pool runs already, with pid " + statistics.pid());
                }
                if (statistics.contexts() > 0) {
                    return PoolView.of(pool);
                }
                Optional<String> none = lastLine(problems).filter(line -> line.endsWith(LATER));
                if (none.isPresent()) {
                    throw new CommandException(ErrorCode.NO_DRIVER, none.get().replace(LATER, ""));
                }
                if (System.nanoTime() > end) {
                    throw new CommandException(
                            ErrorCode.TIMEOUT,
                            "rekindled has warmed no GPU within " + LIMIT.toSeconds() + " s; --log FILE keeps its log");
                }
                Thread.sleep(10);
            } catch (PoolException notYet) {
                if (process.waitFor(50, TimeUnit.MILLISECONDS)) {
                    throw new CommandException(
                            ErrorCode.POOL_DIED,
                            "rekindled ended with exit code %d%s"
                                    .formatted(
                                            process.exitValue(),
                                            lastLine(problems)
                                                    .map(line -> ": " + line)
                                                    .orElse("; --log FILE keeps its log")));
                }
                if (System.nanoTime() > end) {
                    throw notYet;
                }
            }
        }
    }

    private static Optional<String> lastLine(Path file) throws IOException {
        return new String(Files.readAllBytes(file), StandardCharsets.UTF_8)
                .lines()
                .reduce((earlier, later) -> later);
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
                            + " device memory and pinned memory, and how often a restore found its image there.")
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
                "PINNED",
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
                Texts.bytes(pool.pinnedHeldBytes()),
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
            out.println("no images in device memory or pinned memory");
        } else {
            images.print(out);
        }
        long found = pool.imagesResident() + pool.imagesPinned();
        long all = found + pool.imagesRead();
        if (all > 0) {
            out.println();
            out.println(("%d of %d restored GPU images lay in device memory already, %d in pinned memory, %d had to be"
                            + " read: hit rate %s")
                    .formatted(
                            pool.imagesResident(),
                            all,
                            pool.imagesPinned(),
                            pool.imagesRead(),
                            Texts.percent((double) found / all)));
        }
        if (pool.movedToPinned() + pool.givenUp() > 0) {
            out.println("To make room, the images of %d folders went to pinned memory, and those of %d were given up"
                    .formatted(pool.movedToPinned(), pool.givenUp()));
        }
        if (pool.expired() > 0) {
            out.println("The prefetched images of %d folders, %s, were taken by nobody in time"
                    .formatted(pool.expired(), Texts.bytes(pool.expiredBytes())));
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
        Table table = new Table("IMAGES", "STATE", "IN", "TAKEN", "PROCESSES", "FILLED", "SIZE", "AGE", "CAME BY");
        for (PoolView.Images images : pool.images()) {
            table.row(
                    Texts.orDash(images.directory().map(Path::toString).orElse("")),
                    Texts.lower(images.state()),
                    Texts.lower(images.tier()),
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
            description =
                    "Fill device memory, or pinned memory of the host, from the GPU images in a folder; the next restore of"
                            + " it finds that done.")
    int prefetch(
            @Mixin Settings settings,
            @Mixin Output output,
            @Option(
                            names = "--tier",
                            paramLabel = "WHERE",
                            description =
                                    "device: the next restore takes it. pinned: restores copy from it, any number of"
                                            + " them; the pool needs REKINDLE_PINNED_BUDGET. Default: device.",
                            defaultValue = "device")
                    Tier tier,
            @Parameters(paramLabel = "DIR", description = "Where the images are.") Path directory) {
        try (Rekindle rekindle = settings.open();
                WarmPool pool = rekindle.connectPool()) {
            pool.prefetch(directory, tier);
            output.print(
                    new Images(directory, true),
                    Texts.lower(tier) + " memory is filled from " + directory + " from now on");
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
