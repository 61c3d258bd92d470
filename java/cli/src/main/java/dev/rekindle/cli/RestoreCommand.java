// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.CheckpointImage;
import dev.rekindle.HugePages;
import dev.rekindle.Rekindle;
import dev.rekindle.RestoreRequest;
import dev.rekindle.RestoredProcess;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "restore",
        mixinStandardHelpOptions = true,
        description = "Restore a process tree and print the pid of its root.")
final class RestoreCommand implements Callable<Integer> {
    @Mixin
    private Settings settings;

    @Mixin
    private RunOptions options;

    @Mixin
    private Output output;

    @Parameters(index = "0", paramLabel = "DIR", description = "Where the images are.")
    private Path directory;

    @Option(
            names = "--restore-threads",
            paramLabel = "N",
            description = "CRIU's threads; 0, the default: as many as suit the machine; -1: CRIU's own way.")
    private int restoreThreads;

    @Option(
            names = {"--restore-thp", "--restore-hugepages"},
            paramLabel = "HOW",
            description = "${COMPLETION-CANDIDATES}.")
    private HugePages hugePages = HugePages.DEFAULT;

    @Option(
            names = {"--gpu", "--device-map"},
            paramLabel = "MAP",
            description = "The GPUs that it takes: OLD=NEW,... with numbers or UUIDs, NEW for a tree whose memory lies"
                    + " on one GPU, or auto for the same numbers.")
    private @Nullable String deviceMap;

    @Option(names = "--verify", description = "Compare all checksums before anything is started.")
    private boolean verify;

    @Option(
            names = "--cleanup",
            description = "Verify as --verify does, and remove the checkpoint once it is restored: the images that its"
                    + " manifest lists, logs and statistics of its runs, and the folder where nothing else is in it.")
    private boolean cleanup;

    /** What {@code --json} prints. */
    record Document(long pid, Path directory, boolean removed, RunView run) {}

    @Override
    public Integer call() throws IOException {
        options.validate();
        if (deviceMap != null && deviceMap.isEmpty()) {
            throw new IllegalArgumentException("--gpu names no GPU: leave it out for the same numbers");
        }
        try (Rekindle rekindle = settings.builder()
                        .restoreThreads(restoreThreads)
                        .hugePages(hugePages)
                        .build();
                Progress progress = new Progress("restore", output.err())) {
            RestoreRequest.Builder request = RestoreRequest.builder(directory);
            options.apply(request, progress);
            if (deviceMap != null) {
                request.deviceMap(deviceMap);
            }
            options.tree().note().ifPresent(output::note);
            if (verify || cleanup) {
                CheckpointImage image = CheckpointImage.open(directory);
                if (cleanup && !image.hasManifest()) {
                    throw new IllegalArgumentException("the checkpoint in " + directory
                            + " has no manifest to verify it by: restore it without --cleanup");
                }
                image.verify(progress);
            }
            if (options.tree().linkRemap()) {
                putLinksBack();
            }
            RestoredProcess process = rekindle.restore(request.build());
            progress.finish();
            Optional<String> problem = cleanup ? remove() : Optional.empty();
            boolean removed = cleanup && problem.isEmpty();
            if (!cleanup) {
                remember(process.pid());
            }
            problem.ifPresent(output::note);
            output.print(
                    new Document(process.pid(), directory, removed, RunView.of(process.statistics())),
                    out -> {
                        RunReport.print(process.statistics(), options, out);
                        out.println(process.pid());
                    },
                    "process " + process.pid() + " is restored and runs");
            return problem.isPresent() ? ExitStatus.FAILED : 0;
        }
    }

    /** For a swap, which asks for --pid where there is no such note, as in a folder that cannot be written to. */
    private void remember(long pid) {
        try {
            ServicePid.write(directory, pid);
        } catch (IOException unwritable) {
            return;
        }
    }

    /** Where that fails, the restore says what is missing. */
    private void putLinksBack() {
        try {
            LinkRemaps.putBack(directory);
        } catch (IOException failure) {
            output.note("rekindle: links that an interrupted dump has left aside could not be put back: "
                    + RekindleCommand.sentence(failure));
        }
    }

    /** The process runs whatever comes of this, so it only says what went wrong. */
    private Optional<String> remove() {
        try {
            ImageFolder.remove(directory, options.logBesideImages().map(Set::of).orElse(Set.of()));
            return Optional.empty();
        } catch (IOException failure) {
            return Optional.of("rekindle: the process is restored, but its checkpoint in " + directory
                    + " could not be removed: " + RekindleCommand.sentence(failure));
        }
    }
}
