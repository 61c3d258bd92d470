// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.Rekindle;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "doctor",
        mixinStandardHelpOptions = true,
        description =
                "Say what is here, what is needed, and how to fix what is missing. The exit status is 1 where a line"
                        + " fails; warnings are what costs speed, or only some programs need.")
final class DoctorCommand implements Callable<Integer> {
    @Mixin
    private Settings settings;

    @Mixin
    private Output output;

    @Option(
            names = "--images",
            paramLabel = "DIR",
            description =
                    "Look at a folder for images too: its kind, its room, how fast it can be written, and links that an"
                            + " earlier checkpoint in it has left.")
    private @Nullable Path images;

    /** What {@code --json} prints. */
    record Document(Finding.Status status, List<Finding> findings) {}

    @Override
    public Integer call() throws IOException {
        List<Finding> findings;
        try (Rekindle rekindle = settings.open()) {
            findings = new Doctor(rekindle, settings).examine(images);
        }
        Finding.Status worst =
                findings.stream().map(Finding::status).max(Enum::compareTo).orElse(Finding.Status.PASS);
        output.print(new Document(worst, findings), out -> {
            for (Finding finding : findings) {
                out.printf("%-4s  %-18s  %s%n", Texts.lower(finding.status()), finding.name(), finding.found());
                if (finding.status() != Finding.Status.PASS) {
                    out.printf("      %-18s  needed: %s%n", "", finding.needed());
                    out.printf("      %-18s  to fix: %s%n", "", finding.fix());
                }
            }
        });
        return worst == Finding.Status.FAIL ? ExitStatus.FAILED : 0;
    }
}
