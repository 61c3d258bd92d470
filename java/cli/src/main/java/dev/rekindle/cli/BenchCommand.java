// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.ErrorCode;
import dev.rekindle.PoolStatistics;
import dev.rekindle.Rekindle;
import dev.rekindle.RekindleException;
import dev.rekindle.WarmPool;
import dev.rekindle.pages.Page;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "bench",
        mixinStandardHelpOptions = true,
        description = {
            "Measure how long a service takes to come up: from its beginning, restored by stock CRIU, and restored by"
                    + " Rekindle. Each time lasts until the service is well, so --health-url or --health-command is needed.",
            "It starts the program as 'rekindle run' does, checkpoints it with both, and then brings it up and ends it in"
                    + " rounds, the three taking turns in being first. It must not run already. A program that listens, or"
                    + " has connections, comes back many times with --net-namespace; --health-command is run in that network"
                    + " then."
        },
        customSynopsis = "rekindle bench [OPTIONS] -- COMMAND [ARG...]")
final class BenchCommand implements Callable<Integer> {
    /** Where CUDA, Triton and Torch keep what they have compiled. */
    private static final List<String> CACHES = List.of(
            "CUDA_CACHE_PATH", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TORCH_EXTENSIONS_DIR", "XDG_CACHE_HOME");

    @Mixin
    private Settings settings;

    @Mixin
    private TreeOptions tree;

    @Mixin
    private DumpOptions dump;

    @Mixin
    private Namespaces namespaces;

    @Mixin
    private HealthCheck health;

    @Mixin
    private Output output;

    @Parameters(index = "0..*", arity = "1..*", paramLabel = "COMMAND", description = "The program and its arguments.")
    private List<String> command;

    @Option(
            names = {"-n", "--rounds"},
            paramLabel = "N",
            defaultValue = "5",
            description = "How many times each is measured. Default: ${DEFAULT-VALUE}.")
    private int rounds;

    @Option(
            names = "--cold",
            description =
                    "Drop the page cache before each time, and let the program begin with empty folders for what CUDA,"
                            + " Triton and Torch compile. Where something is found in memory all the same, or another process uses"
                            + " the GPU, the result says warm, and why.")
    private boolean wantCold;

    @Option(
            names = "--settle",
            paramLabel = "SECONDS",
            defaultValue = "1",
            description = "Rest before each time. Default: ${DEFAULT-VALUE}.")
    private int settleSeconds;

    @Option(
            names = "--work",
            paramLabel = "DIR",
            description =
                    "An empty folder for images and logs, or one to be made, which stays. Default: one in the folder for"
                            + " temporary files, which goes.")
    private @Nullable Path work;

    @Option(
            names = "--stock-criu",
            paramLabel = "PROGRAM",
            description =
                    "The criu of the stock side. Default: the one in PATH; Rekindle's own without its options where there"
                            + " is none.")
    private @Nullable Path stockCriu;

    @Option(
            names = "--stock-plugin-dir",
            paramLabel = "DIR",
            description =
                    "The folder with CRIU's own CUDA plugin, which needs NVIDIA's cuda-checkpoint in PATH. Default: no"
                            + " plugin.")
    private @Nullable Path stockPlugins;

    @Option(names = "--no-stock", description = "Leave the stock side out.")
    private boolean withoutStock;

    @Option(
            names = {"-C", "--directory"},
            paramLabel = "DIR",
            description = "The folder the program runs in. Default: this one.")
    private @Nullable Path directory;

    @Option(
            names = {"-e", "--env"},
            paramLabel = "NAME=VALUE",
            description = "A variable of its environment, repeatable.")
    private Map<String, String> variables = Map.of();

    @Option(
            names = "--html",
            paramLabel = "FILE",
            description = "Write a page with charts too, as 'rekindle report' does.")
    private @Nullable Path page;

    @Override
    public Integer call() throws IOException, InterruptedException {
        Path program = validate();
        if (work != null) {
            return measureIn(empty(work.toAbsolutePath()), program);
        }
        try (TemporaryFolder folder = TemporaryFolder.make("rekindle-bench-")) {
            try {
                return measureIn(folder.path(), program);
            } catch (CommandException | RekindleException failure) {
                // Which may say "see" one of them.
                if (ExitStatus.code(failure) != ErrorCode.CANCELLED && folder.keepLogs()) {
                    say("the logs stay in " + folder.path());
                }
                throw failure;
            }
        }
    }

    private int measureIn(Path folder, Path program) throws IOException, InterruptedException {
        try (Rekindle rekindle = settings.open()) {
            BenchResult result = measure(rekindle, program, folder);
            if (page != null) {
                BenchPage.write(page, result);
            }
            output.print(result, out -> text(result, out));
            return 0;
        }
    }

    private Path validate() {
        health.validate();
        tree.validate();
        dump.validate();
        if (withoutStock && (stockCriu != null || stockPlugins != null)) {
            throw new IllegalArgumentException(
                    "--no-stock leaves the stock side out: give no --stock-criu and no --stock-plugin-dir with it");
        }
        if (!health.isGiven()) {
            throw new IllegalArgumentException(
                    "nothing says when the service is well: give --health-url or --health-command");
        }
        if (namespaces.network() && health.hasUrl()) {
            throw new IllegalArgumentException("--health-url does not reach a service in a network of its own: give"
                    + " --health-command, which is run in that network");
        }
        if (rounds < 1 || settleSeconds < 0) {
            throw new IllegalArgumentException("--rounds is 1 or more, and --settle 0 or more");
        }
        if (page != null) {
            Page.check(page);
            WholeFile.check(page);
        }
        if (stockCriu != null) {
            Launch.findProgram(stockCriu.toString(), null, Map.of());
        }
        if (stockPlugins != null && !Files.isRegularFile(stockPlugins.resolve("cuda_plugin.so"))) {
            throw new IllegalArgumentException("--stock-plugin-dir " + stockPlugins
                    + " has no cuda_plugin.so in it: name the folder with CRIU's own, or leave it out");
        }
        return Launch.findProgram(command.getFirst(), directory, variables);
    }

    private static Path empty(Path folder) throws IOException {
        if (Files.exists(folder) && !Files.isDirectory(folder)) {
            throw new IllegalArgumentException(
                    "--work " + folder + " is a file: name an empty folder, or one to be made");
        }
        WholeFile.makeFolder(folder);
        try (Stream<Path> files = Files.list(folder)) {
            if (files.findAny().isPresent()) {
                throw new IllegalArgumentException("--work " + folder + " is not empty");
            }
        }
        return folder;
    }

    private BenchResult measure(Rekindle rekindle, Path program, Path folder) throws IOException, InterruptedException {
        Path log = folder.resolve("program.log");
        Map<String, String> environment = new HashMap<>(variables);
        Path none = Files.createDirectory(folder.resolve("no-plugins"));
        var sides = new EnumMap<BenchResult.Side, BenchSide>(BenchResult.Side.class);
        sides.put(
                BenchResult.Side.COLD_START,
                new BenchSide.ColdStart(
                        rekindle, command, namespaces, program, new Launch(directory, environment, log, null)));
        Path criu = stockCriu == null ? stockCriu(rekindle) : stockCriu;
        if (!withoutStock) {
            sides.put(
                    BenchResult.Side.STOCK,
                    new BenchSide.Stock(criu, stockPlugins, tree, dump, namespaces, folder.resolve("stock"), none));
        }
        sides.put(
                BenchResult.Side.REKINDLE,
                new BenchSide.Ours(rekindle, tree, dump, namespaces, folder.resolve("rekindle")));
        var bench = new Bench(
                health,
                namespaces,
                side -> wantCold ? makeCold(rekindle, side, folder, environment) : Optional.empty(),
                settleSeconds,
                sides);
        dump.note(tree, output);
        try {
            say("starting the program, and making checkpoints of it");
            bench.dump();
            for (int round = 0; round < rounds; round++) {
                say("round " + (round + 1) + " of " + rounds);
                bench.round(round);
            }
        } catch (InterruptedException signal) {
            throw ended(signal);
        } catch (RekindleException failure) {
            throw failure.code() == ErrorCode.CANCELLED ? ended(failure) : failure;
        } finally {
            bench.end();
        }
        List<BenchResult.SideResult> results = bench.results();
        boolean cold = wantCold && bench.notCold().isEmpty();
        return new BenchResult(
                command,
                rounds,
                cold ? BenchResult.Cache.COLD : BenchResult.Cache.WARM,
                bench.notCold(),
                conditions(rekindle, results, withoutStock ? null : criu, folder),
                results);
    }

    private static CommandException ended(Exception signal) {
        var ended = new CommandException(
                ErrorCode.CANCELLED, "interrupted: nothing was measured, and what it had started is ended");
        ended.initCause(signal);
        return ended;
    }

    private void say(String line) {
        output.note("rekindle: bench: " + line);
    }

    private static Path stockCriu(Rekindle rekindle) {
        return Machine.program("criu").orElseGet(rekindle::criuProgram);
    }

    private Optional<String> makeCold(Rekindle rekindle, BenchSide side, Path folder, Map<String, String> environment)
            throws IOException {
        for (String name : CACHES) {
            if (variables.containsKey(name)) {
                return Optional.of("--env " + name + " keeps what an earlier start has compiled");
            }
            environment.put(
                    name,
                    Files.createTempDirectory(folder, "cache-" + name + "-").toString());
        }
        Optional<String> others = usersOfGpu(rekindle);
        return others.isPresent() ? others : PageCache.drop(List.of(side.file()));
    }

    /** Other than the pool, whose contexts are what makes it fast. */
    private static Optional<String> usersOfGpu(Rekindle rekindle) {
        Optional<Path> smi = Machine.program("nvidia-smi");
        if (smi.isEmpty()) {
            return Optional.empty();
        }
        Optional<String> answer =
                Machine.output(smi.get().toString(), "--query-compute-apps=pid", "--format=csv,noheader");
        if (answer.isEmpty()) {
            return Optional.of("nvidia-smi did not say which processes use the GPU");
        }
        String pool = String.valueOf(pool(rekindle));
        List<String> others = answer.get()
                .lines()
                .map(String::strip)
                .filter(pid -> pid.matches("\\d+") && !pid.equals(pool))
                .toList();
        return others.isEmpty()
                ? Optional.empty()
                : Optional.of("another process uses the GPU: pid " + String.join(", ", others));
    }

    private static long pool(Rekindle rekindle) {
        try (WarmPool pool = rekindle.connectPool()) {
            PoolStatistics statistics = pool.statistics();
            return statistics.pid();
        } catch (RekindleException none) {
            return 0;
        }
    }

    private BenchResult.Conditions conditions(
            Rekindle rekindle, List<BenchResult.SideResult> results, @Nullable Path stock, Path folder)
            throws IOException {
        Optional<RunView> ours = results.stream()
                .map(BenchResult.SideResult::lastRun)
                .flatMap(run -> Optional.ofNullable(run).stream())
                .reduce((one, later) -> later);
        return new BenchResult.Conditions(
                Instant.now().truncatedTo(ChronoUnit.SECONDS),
                Machine.text("/proc/sys/kernel/osrelease").orElse(""),
                Runtime.getRuntime().availableProcessors(),
                ours.map(RunView::gpu).orElse(""),
                ours.map(RunView::simulated).orElse(false),
                version(rekindle.criuProgram(), " with Rekindle's patches"),
                stock == null ? "" : version(stock, " with Rekindle's patches, which are not used"),
                stockPlugins != null,
                Files.getFileStore(folder).type(),
                settleSeconds);
    }

    private static String version(Path criu, String withPatches) {
        String version = Machine.output(criu.toString(), "--version")
                .flatMap(text -> text.lines().findFirst())
                .orElse("")
                .replaceFirst("^Version: *", "");
        boolean patched =
                Machine.output(criu.toString(), "restore", "--help").orElse("").contains("--restore-threads");
        return patched ? version + withPatches : version;
    }

    private static void text(BenchResult result, PrintWriter out) {
        if (result.conditions().simulated()) {
            out.println("SIMULATED GPU: these times say nothing about a GPU");
        }
        Table table = new Table("SIDE", "RUNS", "MEDIAN", "P95", "P99", "LEAST", "MOST", "RATIO");
        for (BenchResult.SideResult side : result.sides()) {
            BenchResult.Summary summary = side.summary();
            if (summary != null) {
                table.row(
                        side.side().title(),
                        side.seconds().size(),
                        Texts.seconds(summary.medianSeconds()),
                        Texts.seconds(summary.p95Seconds()),
                        Texts.seconds(summary.p99Seconds()),
                        Texts.seconds(summary.minimumSeconds()),
                        Texts.seconds(summary.maximumSeconds()),
                        summary.ratio() == null ? "-" : Texts.ratio(summary.ratio()));
            }
        }
        table.print(out);
        result.sides().stream()
                .filter(side -> !side.failure().isEmpty())
                .forEach(side -> out.println(side.side().title() + " was given up: " + side.failure()));
        out.println(Texts.lower(result.cache()) + " caches");
        result.notCold().forEach(reason -> out.println("not cold: " + reason));
    }
}
