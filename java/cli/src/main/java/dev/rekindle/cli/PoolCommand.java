// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.PoolException;
import dev.rekindle.PoolStatistics;
import dev.rekindle.Rekindle;
import dev.rekindle.WarmPool;
import java.io.File;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

@Command(
        name = "pool",
        mixinStandardHelpOptions = true,
        description = "Start, watch and stop rekindled, the warm pool.",
        synopsisSubcommandLabel = "COMMAND")
final class PoolCommand {
    private static final Duration LIMIT = Duration.ofSeconds(60);

    @Spec
    private CommandSpec spec;

    @Command(mixinStandardHelpOptions = true, description = "Start rekindled and wait until it is warm.")
    int start(
            @Mixin Settings settings,
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
            var builder = new ProcessBuilder((program == null ? findProgram() : program).toString())
                    .redirectInput(new File("/dev/null"))
                    .redirectOutput(ProcessBuilder.Redirect.appendTo(log))
                    .redirectError(ProcessBuilder.Redirect.appendTo(log));
            settings.export(builder.environment());
            Process process = builder.start();
            long end = System.nanoTime() + LIMIT.toNanos();
            while (true) {
                try (WarmPool pool = rekindle.connectPool()) {
                    PoolStatistics statistics = pool.statistics();
                    if (statistics.pid() != process.pid()) {
                        process.destroy();
                        throw new IllegalStateException("a pool runs already, with pid " + statistics.pid());
                    }
                    if (statistics.contexts() > 0 || System.nanoTime() > end) {
                        print("rekindled runs with pid %d and %d warm contexts"
                                .formatted(statistics.pid(), statistics.contexts()));
                        return 0;
                    }
                    Thread.sleep(10);
                } catch (PoolException notYet) {
                    if (process.waitFor(50, TimeUnit.MILLISECONDS)) {
                        throw new IllegalStateException(
                                "rekindled ended with exit code " + process.exitValue() + "; --log FILE keeps its log",
                                notYet);
                    }
                    if (System.nanoTime() > end) {
                        process.destroy();
                        throw notYet;
                    }
                }
            }
        }
    }

    @Command(mixinStandardHelpOptions = true, description = "Show what the pool has done and holds.")
    int status(@Mixin Settings settings) {
        try (Rekindle rekindle = settings.open();
                WarmPool pool = rekindle.connectPool()) {
            PoolStatistics statistics = pool.statistics();
            PrintWriter out = spec.commandLine().getOut();
            if (statistics.simulated()) {
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
                    statistics.pid(),
                    Texts.seconds(statistics.uptime()),
                    statistics.workers(),
                    statistics.contexts(),
                    statistics.restores(),
                    statistics.checkpoints(),
                    Texts.bytes(statistics.bytesToDevice()),
                    Texts.bytes(statistics.bytesFromDevice()),
                    Texts.bytes(statistics.ringBytes()),
                    Texts.bytes(statistics.deviceBytesHeld()),
                    statistics.runs());
            table.print(out);
            return 0;
        }
    }

    @Command(mixinStandardHelpOptions = true, description = "Stop rekindled, after its runs.")
    int stop(@Mixin Settings settings) throws InterruptedException {
        long pid;
        try (Rekindle rekindle = settings.open();
                WarmPool pool = rekindle.connectPool()) {
            pid = pool.statistics().pid();
        }
        ProcessHandle process = ProcessHandle.of(pid)
                .orElseThrow(() -> new IllegalStateException("the pool, pid " + pid + ", has ended by itself"));
        process.destroy();
        long end = System.nanoTime() + LIMIT.toNanos();
        while (process.isAlive()) {
            if (System.nanoTime() > end) {
                throw new IllegalStateException(
                        "the pool, pid " + pid + ", did not end within " + LIMIT.toSeconds() + " s");
            }
            Thread.sleep(20);
        }
        print("rekindled with pid " + pid + " has ended");
        return 0;
    }

    private void print(String text) {
        PrintWriter out = spec.commandLine().getOut();
        out.println(text);
        out.flush();
    }

    /** Named by the environment, or in the bin folder beside that of the native library, or in PATH. */
    private static Path findProgram() {
        String named = System.getenv("REKINDLE_POOL_PROGRAM");
        if (named != null) {
            return Path.of(named);
        }
        String library = System.getProperty("rekindle.library.path", "");
        if (!library.isEmpty()) {
            Path path = Path.of(library).toAbsolutePath();
            Path folder = Files.isDirectory(path) ? path : path.getParent();
            Path program = folder == null ? path : folder.resolveSibling("bin").resolve("rekindled");
            if (Files.isRegularFile(program) && Files.isExecutable(program)) {
                return program;
            }
        }
        return Path.of("rekindled");
    }
}
