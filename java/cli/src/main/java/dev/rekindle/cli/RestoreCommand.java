// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.HugePages;
import dev.rekindle.Rekindle;
import dev.rekindle.RestoreRequest;
import dev.rekindle.RestoredProcess;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

@Command(
        name = "restore",
        mixinStandardHelpOptions = true,
        description = "Restore a process tree and print the pid of its root.")
final class RestoreCommand implements Callable<Integer> {
    @Spec
    private CommandSpec spec;

    @Mixin
    private Settings settings;

    @Mixin
    private RunOptions options;

    @Parameters(index = "0", paramLabel = "DIR", description = "Where the images are.")
    private Path directory;

    @Option(names = "--restore-threads", paramLabel = "N", description = "CRIU's threads; -1: CRIU's own way.")
    private int restoreThreads;

    @Option(names = "--restore-hugepages", paramLabel = "HOW", description = "${COMPLETION-CANDIDATES}.")
    private HugePages hugePages = HugePages.DEFAULT;

    @Override
    public Integer call() {
        try (Rekindle rekindle = settings.builder()
                        .restoreThreads(restoreThreads)
                        .hugePages(hugePages)
                        .build();
                Progress progress = new Progress("restore")) {
            RestoreRequest.Builder request = RestoreRequest.builder(directory);
            options.apply(request, progress);
            RestoredProcess process = rekindle.restore(request.build());
            progress.finish();
            PrintWriter out = spec.commandLine().getOut();
            if (!options.quiet()) {
                RunReport.print(process.statistics(), out);
            }
            out.println(process.pid());
            out.flush();
            return 0;
        }
    }
}
