// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.CheckpointImage;
import dev.rekindle.ImageProcess;
import dev.rekindle.Mode;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

@Command(
        name = "inspect",
        aliases = "show",
        mixinStandardHelpOptions = true,
        description = "Show what a folder holds, without restoring it.")
final class InspectCommand implements Callable<Integer> {
    @Spec
    private CommandSpec spec;

    @Parameters(index = "0", paramLabel = "DIR", description = "Where the images are.")
    private Path directory;

    @Option(names = "--tree", description = "Show the process tree instead of a table.")
    private boolean tree;

    @Option(names = "--verify", description = "Read every chunk and compare its checksum.")
    private boolean verify;

    @Override
    public Integer call() {
        CheckpointImage image = CheckpointImage.open(directory);
        PrintWriter out = spec.commandLine().getOut();
        summary(image, out);
        if (tree) {
            branch(image, image.rootPid(), "", out);
        } else {
            table(image, out);
        }
        if (verify) {
            try (Progress progress = new Progress("verify")) {
                long bytes = image.verify(progress);
                progress.finish();
                out.println("checksums right in " + Texts.bytes(bytes));
            }
        }
        out.flush();
        return 0;
    }

    private static void summary(CheckpointImage image, PrintWriter out) {
        if (image.simulated()) {
            out.println("SIMULATED GPU");
        }
        out.printf("folder       %s%n", image.directory());
        out.printf("created      %s%n", image.created());
        out.printf("criu         %s%n", Texts.orDash(image.criuVersion()));
        out.printf("gpu          %s %s%n", Texts.orDash(image.gpuName()), image.gpuUuid());
        out.printf("driver       %s%n", Texts.orDash(image.driver()));
        out.printf("plugin       %s%n", image.usesCudaPlugin() ? "cuda_plugin" : "-");
        out.printf("host memory  %s%n", Texts.bytes(image.hostBytes()));
        out.printf(
                "device       %s, stored in %s%n%n", Texts.bytes(image.deviceBytes()), Texts.bytes(image.imageBytes()));
    }

    private static void table(CheckpointImage image, PrintWriter out) {
        Table table = new Table("PID", "PARENT", "NAME", "THREADS", "MODE", "HOST", "DEVICE", "STORED", "ALLOCATIONS");
        for (ImageProcess process : image.processes()) {
            table.row(
                    process.pid(),
                    process.parentPid(),
                    process.name(),
                    process.threads(),
                    Texts.mode(process.mode(), process.reason()),
                    Texts.bytes(process.hostBytes()),
                    Texts.bytes(process.deviceBytes()),
                    Texts.bytes(process.imageBytes()),
                    process.allocations());
        }
        table.print(out);
    }

    private static void branch(CheckpointImage image, int pid, String indent, PrintWriter out) {
        for (ImageProcess process : image.processes()) {
            if (process.pid() == pid) {
                String device = process.mode() == Mode.NONE
                        ? ""
                        : ", device " + Texts.bytes(process.deviceBytes()) + " "
                                + Texts.mode(process.mode(), process.reason());
                out.printf(
                        "%s%s (%d): %d threads, host %s%s%n",
                        indent, process.name(), pid, process.threads(), Texts.bytes(process.hostBytes()), device);
            }
        }
        for (ImageProcess process : image.processes()) {
            if (process.parentPid() == pid && process.pid() != pid) {
                branch(image, process.pid(), indent + "  ", out);
            }
        }
    }
}
