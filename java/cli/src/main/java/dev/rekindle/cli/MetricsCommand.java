// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.ErrorCode;
import dev.rekindle.Rekindle;
import dev.rekindle.RekindleException;
import dev.rekindle.RunKind;
import dev.rekindle.RunStatistics;
import dev.rekindle.WarmPool;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "metrics",
        mixinStandardHelpOptions = true,
        description =
                "Print the statistics of the pool, and of the last runs in folders, in Prometheus's text format, write"
                        + " them to a file, or answer Prometheus with them.")
final class MetricsCommand implements Callable<Integer> {
    @Mixin
    private Settings settings;

    @Mixin
    private Output output;

    @Parameters(
            arity = "0..*",
            paramLabel = "DIR",
            description =
                    "Work folders of runs. One without statistics of a run is left out; one with such that cannot be"
                            + " read too, which is said, and the exit status is not 0.")
    private List<Path> folders = List.of();

    @Option(
            names = {"-o", "--output"},
            paramLabel = "FILE.prom",
            description = "Write them to a file, as a whole, for the text file collector of the node exporter.")
    private @Nullable Path file;

    @Option(
            names = "--listen",
            paramLabel = "PORT",
            description =
                    "Answer with them at http://127.0.0.1:PORT/metrics, which is reached from this machine only, until"
                            + " this is ended. 0: a port that is free, which is printed.")
    private @Nullable Integer port;

    /** Of the last folder that could not be read, if any; the others' values are worth having all the same. */
    private int status;

    /** What {@code --json} prints. */
    record Document(@Nullable PoolView pool, List<Run> runs) {}

    /** Likewise, with {@code --listen}. */
    record Listening(String address) {}

    /** All of it at one time. */
    private record Collected(Optional<PoolView> pool, List<Run> runs, String text) {}

    /** The last run of a kind in a folder. */
    record Run(Path directory, RunView run) {}

    @Override
    public Integer call() throws IOException {
        if (port != null) {
            return listen(port);
        }
        Collected all = collect();
        if (file != null) {
            write(file.toAbsolutePath(), all.text());
        }
        output.print(new Document(all.pool().orElse(null), all.runs()), out -> {
            if (file == null) {
                out.print(all.text());
            }
        });
        return status;
    }

    /** Until a signal ends it, which is how it is meant to end. */
    private int listen(int number) throws IOException {
        if (file != null || number < 0 || number > MetricsServer.PORT_MAX) {
            throw new IllegalArgumentException(
                    file != null
                            ? "--listen answers, and --output writes a file: give one of them"
                            : "--listen " + number + " is no port from 0 to " + MetricsServer.PORT_MAX);
        }
        collect(); // what is wrong with the folders or settings is said now
        try (var server = new MetricsServer(number, () -> collect().text())) {
            output.print(new Listening(server.address()), server.address() + " answers until this is ended");
            new CountDownLatch(1).await();
        } catch (InterruptedException end) {
            // There is nothing to be undone.
        }
        return 0;
    }

    private Collected collect() throws IOException {
        Optional<PoolView> pool = pool();
        var metrics = new Metrics();
        metrics.pool(pool.orElse(null));
        var runs = new ArrayList<Run>();
        for (Path folder : folders) {
            for (RunStatistics run : runs(folder)) {
                metrics.run(folder.toAbsolutePath(), run);
                runs.add(new Run(folder.toAbsolutePath(), RunView.of(run)));
            }
        }
        return new Collected(pool, runs, new String(metrics.text(), StandardCharsets.UTF_8));
    }

    private Optional<PoolView> pool() {
        try (Rekindle rekindle = settings.open();
                WarmPool pool = rekindle.connectPool()) {
            return Optional.of(PoolView.of(pool));
        } catch (RekindleException failure) {
            return switch (failure.code()) {
                case POOL_UNREACHABLE, POOL_DIED -> Optional.empty();
                default -> throw failure;
            };
        }
    }

    /** The last ones of each kind. */
    private List<RunStatistics> runs(Path folder) {
        if (!Files.isDirectory(folder)) {
            throw new IllegalArgumentException("there is no folder " + folder);
        }
        var runs = new ArrayList<RunStatistics>();
        for (RunKind kind : RunKind.values()) {
            try {
                runs.add(RunStatistics.read(folder, kind));
            } catch (RekindleException failure) {
                if (failure.code() != ErrorCode.NO_IMAGE) {
                    output.note("rekindle: " + folder + " is left out: " + RekindleCommand.sentence(failure));
                    status = ExitStatus.of(failure);
                    return List.of();
                }
            }
        }
        return runs;
    }

    private static void write(Path target, String text) {
        Path folder = target.getParent();
        if (folder == null || !Files.isDirectory(folder) || Files.isDirectory(target)) {
            throw new IllegalArgumentException(
                    "metrics cannot go to " + target + ": name a file in a folder that exists");
        }
        WholeFile.write(target, text);
    }
}
