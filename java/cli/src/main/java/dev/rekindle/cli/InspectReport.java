// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.Mode;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** What a checkpoint holds, for people. */
final class InspectReport {
    private InspectReport() {}

    /** Parts that are shown beside those that always are. */
    record Parts(boolean tree, boolean files, boolean allocations) {}

    static void print(ImageView image, Parts parts, PrintWriter out) {
        summary(image, out);
        if (parts.tree()) {
            branch(image, image.rootPid(), "", new HashSet<>(), out);
        } else {
            table(image, out);
        }
        gpus(image, out);
        if (parts.allocations()) {
            allocations(image, out);
        }
        runs(image, out);
        if (parts.files()) {
            out.println();
            Table table = new Table("FILE", "SIZE");
            image.largestFiles().forEach(file -> table.row(file.name(), Texts.bytes(file.bytes())));
            table.print(out);
        }
        if (image.verifiedBytes() != null) {
            out.println("checksums right in " + Texts.bytes(image.verifiedBytes())
                    + (image.manifest()
                            ? ", which is every file of the checkpoint"
                            : " of GPU images; no manifest, so CRIU's files were not compared"));
        }
        image.hints().forEach(hint -> out.println("hint: " + hint));
    }

    private static void summary(ImageView image, PrintWriter out) {
        if (image.simulated()) {
            out.println("SIMULATED GPU");
        }
        ImageView.Sizes sizes = image.sizes();
        ImageView.Archive archive = image.archive();
        out.printf("%-12s %s%n", archive == null ? "folder" : "archive", image.directory());
        if (archive != null) {
            out.printf(
                    "packed       %s, compression %s%n",
                    Texts.bytes(archive.bytes()), Texts.lower(archive.compression()));
            out.printf(
                    "container    %s%n",
                    Texts.orDash(Stream.of(archive.container(), archive.image(), String.join(" ", archive.command()))
                            .filter(part -> !part.isEmpty())
                            .collect(Collectors.joining(", "))));
        }
        out.printf("created      %s%n", image.created());
        out.printf("criu         %s%n", Texts.orDash(image.criuVersion()));
        out.printf("gpu          %s %s%n", Texts.orDash(image.gpu()), image.gpuUuid());
        out.printf("driver       %s%n", Texts.orDash(image.driver()));
        out.printf("plugin       %s%n", image.usesCudaPlugin() ? "cuda_plugin" : "-");
        out.printf("manifest     %s%n", image.manifest() ? "yes: all files are there" : "none");
        out.printf("host memory  %s%n", Texts.bytes(image.hostBytes()));
        out.printf(
                "device       %s, stored in %s%n",
                Texts.bytes(image.deviceBytes()), Texts.bytes(image.gpuImageBytes()));
        if (image.linkedBytes() > 0) {
            out.printf(
                    "linked       %s, of older images: %s; they hold %s beside that%n",
                    Texts.bytes(image.linkedBytes()),
                    image.processes().stream()
                            .flatMap(process -> process.linkedTo().stream())
                            .distinct()
                            .collect(Collectors.joining(", ")),
                    Texts.bytes(image.deadBytes()));
        }
        out.printf(
                "%-12s %s: process memory %s, GPU memory %s, files %s, network %s, other %s%n%n",
                archive == null ? "on the disk" : "unpacked",
                Texts.bytes(sizes.total()),
                Texts.bytes(sizes.processMemoryBytes()),
                Texts.bytes(sizes.gpuMemoryBytes()),
                Texts.bytes(sizes.filesBytes()),
                Texts.bytes(sizes.networkBytes()),
                Texts.bytes(sizes.otherBytes()));
    }

    private static void table(ImageView image, PrintWriter out) {
        var headings = new ArrayList<>(List.of(
                "PID",
                "PARENT",
                "NAME",
                "THREADS",
                "MAPPINGS",
                "MODE",
                "HOST",
                "ANONYMOUS",
                "OF FILES",
                "DEVICE",
                "STORED"));
        boolean contents = image.processes().stream().anyMatch(process -> process.contents() != null);
        if (contents) {
            headings.addAll(List.of("HOST, ZERO", "REPEATED"));
        }
        Table table = new Table(headings.toArray(String[]::new));
        for (ImageView.TreeProcess process : image.processes()) {
            var cells = new ArrayList<Object>(Arrays.asList(
                    process.pid(),
                    process.parentPid(),
                    process.name(),
                    process.threads(),
                    process.mappings(),
                    Texts.mode(process.mode(), process.reason()),
                    Texts.bytes(process.hostBytes()),
                    Texts.bytes(process.anonymousBytes()),
                    Texts.bytes(process.fileBackedBytes()),
                    Texts.bytes(process.deviceBytes()),
                    Texts.bytes(process.gpuImageBytes())));
            if (contents) {
                PageContents found = process.contents();
                cells.add(found == null ? "-" : Texts.bytes(found.zeroBytes()));
                cells.add(found == null ? "-" : Texts.bytes(found.repeatedBytes()));
            }
            table.row(cells.toArray());
        }
        table.print(out);
    }

    /** Where there is any. */
    private static void gpus(ImageView image, PrintWriter out) {
        Table table = new Table("GPU", "NAME", "PID", "ALLOCATIONS", "DEVICE", "ZERO", "REPEATED", "OF THE DRIVER");
        for (ImageView.TreeProcess process : image.processes()) {
            for (ImageView.Gpu gpu : process.gpus()) {
                table.row(
                        gpu.number(),
                        gpu.name(),
                        process.pid(),
                        gpu.allocations(),
                        Texts.bytes(gpu.deviceBytes()),
                        Texts.bytes(gpu.zeroBytes()),
                        Texts.bytes(gpu.repeatedBytes()),
                        gpu.driverBytes() == 0 ? "-" : Texts.bytes(gpu.driverBytes()));
            }
        }
        print(table, out);
    }

    private static void allocations(ImageView image, PrintWriter out) {
        Table table = new Table("PID", "GPU", "ADDRESS", "SIZE", "ZERO", "REPEATED");
        for (ImageView.TreeProcess process : image.processes()) {
            for (ImageView.Allocation allocation : process.deviceAllocations()) {
                table.row(
                        process.pid(),
                        allocation.gpu(),
                        allocation.address(),
                        Texts.bytes(allocation.bytes()),
                        Texts.bytes(allocation.zeroBytes()),
                        Texts.bytes(allocation.repeatedBytes()));
            }
        }
        print(table, out);
    }

    private static void print(Table table, PrintWriter out) {
        if (!table.isEmpty()) {
            out.println();
            table.print(out);
        }
    }

    private static void runs(ImageView image, PrintWriter out) {
        if (!image.runs().isEmpty()) {
            out.println();
        }
        image.runs().forEach(run -> out.println(RunReport.line(run)));
    }

    /** Each process once: whose images are damaged may be below itself. */
    private static void branch(ImageView image, long pid, String indent, Set<Long> shown, PrintWriter out) {
        if (!shown.add(pid)) {
            return;
        }
        for (ImageView.TreeProcess process : image.processes()) {
            if (process.pid() == pid) {
                String device = process.mode() == Mode.NONE
                        ? ""
                        : ", device " + Texts.bytes(process.deviceBytes()) + " "
                                + Texts.mode(process.mode(), process.reason());
                String command = process.command().isEmpty() ? "" : ": " + String.join(" ", process.command());
                PageContents found = process.contents();
                String contents = found == null
                        ? ""
                        : " (%s zero, %s repeated)"
                                .formatted(Texts.bytes(found.zeroBytes()), Texts.bytes(found.repeatedBytes()));
                out.printf(
                        "%s%s (%d): %d threads, host %s%s%s%s%n",
                        indent,
                        process.name(),
                        pid,
                        process.threads(),
                        Texts.bytes(process.hostBytes()),
                        contents,
                        device,
                        command);
            }
        }
        for (ImageView.TreeProcess process : image.processes()) {
            if (process.parentPid() == pid) {
                branch(image, process.pid(), indent + "  ", shown, out);
            }
        }
    }
}
