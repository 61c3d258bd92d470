// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.RunKind;
import dev.rekindle.RunStatistics;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;

@Command(
        name = "stats",
        mixinStandardHelpOptions = true,
        description = "Show the statistics that a run left in its work folder.")
final class StatsCommand implements Callable<Integer> {
    @Mixin
    private Output output;

    @Parameters(index = "0", paramLabel = "KIND", description = "${COMPLETION-CANDIDATES}.")
    private RunKind kind;

    @Parameters(index = "1", paramLabel = "DIR", description = "The work folder of the run.")
    private Path directory;

    @Override
    public Integer call() {
        RunStatistics run = RunStatistics.read(directory, kind);
        output.print(RunView.of(run), out -> RunReport.printAll(run, out));
        return 0;
    }
}
