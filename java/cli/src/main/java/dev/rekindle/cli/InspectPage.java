// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.pages.Chart;
import dev.rekindle.pages.Page;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** One page of what a checkpoint holds: how large it is, of what and of whom, and what can be done about it. */
final class InspectPage {
    private final ImageView image;
    private final StringBuilder page = new StringBuilder();

    private InspectPage(ImageView image) {
        this.image = image;
    }

    static void write(Path file, ImageView image) {
        WholeFile.write(file, new InspectPage(image).make());
    }

    private String make() {
        ImageView.Sizes sizes = image.sizes();
        page.append("<h1><b>")
                .append(Texts.bytes(sizes.total()))
                .append("</b> of ")
                .append(image.processes().size())
                .append(image.processes().size() == 1 ? " process" : " processes")
                .append("</h1>\n");
        if (image.simulated()) {
            page.append("<p class=\"warning\">SIMULATED GPU</p>\n");
        }
        page.append("<p class=\"soft\">").append(Page.escape(conditions())).append("</p>\n");
        image.hints()
                .forEach(hint -> page.append("<p class=\"warning\">")
                        .append(Page.escape(hint))
                        .append("</p>\n"));
        var kinds = new LinkedHashMap<String, Long>();
        kinds.put("process memory", sizes.processMemoryBytes());
        kinds.put("GPU memory", sizes.gpuMemoryBytes());
        kinds.put("files", sizes.filesBytes());
        kinds.put("network", sizes.networkBytes());
        kinds.put("other", sizes.otherBytes());
        bars(image.archive() == null ? "On the disk" : "In the archive, unpacked", kinds);
        runs();
        processes();
        gpus();
        var files = new LinkedHashMap<String, Long>();
        image.largestFiles().forEach(file -> files.put(file.name(), file.bytes()));
        bars("The largest files", files);
        return Page.of(image.directory().toString(), page);
    }

    private String conditions() {
        var all = new ArrayList<String>(
                List.of(image.directory().toString(), image.created().toString()));
        ImageView.Archive archive = image.archive();
        if (archive != null) {
            all.add(Texts.bytes(archive.bytes()) + ", compression " + Texts.lower(archive.compression()));
            all.add("container " + Texts.orDash(archive.container()) + " of " + Texts.orDash(archive.image()));
        }
        if (!image.criuVersion().isEmpty()) {
            all.add("CRIU " + image.criuVersion());
        }
        if (!image.gpu().isEmpty()) {
            all.add(image.gpu());
        }
        if (!image.driver().isEmpty()) {
            all.add("driver " + image.driver());
        }
        if (image.verifiedBytes() != null) {
            all.add("checksums right in " + Texts.bytes(image.verifiedBytes()));
        }
        return String.join(" · ", all);
    }

    private void bars(String title, Map<String, Long> sizes) {
        if (sizes.values().stream().allMatch(bytes -> bytes == 0)) {
            return;
        }
        Chart chart = Chart.ofBytes();
        sizes.forEach((name, bytes) -> {
            chart.row(name, Texts.bytes(bytes));
            if (bytes > 0) {
                chart.bar(Chart.Colour.REKINDLE, 0, (double) bytes);
            }
        });
        page.append("<h2>")
                .append(Page.escape(title))
                .append("</h2>\n<figure>")
                .append(chart.draw(title))
                .append("</figure>\n");
    }

    private void processes() {
        var rows = new ArrayList<List<String>>();
        for (ImageView.TreeProcess process : image.processes()) {
            PageContents contents = process.contents();
            rows.add(List.of(
                    cell(process.name() + " (" + process.pid() + ")") + "<br><small>"
                            + cell(String.join(" ", process.command())) + "</small>",
                    String.valueOf(process.threads()),
                    String.valueOf(process.mappings()),
                    Texts.bytes(process.anonymousBytes()),
                    Texts.bytes(process.fileBackedBytes()),
                    contents == null
                            ? "-"
                            : Texts.bytes(contents.zeroBytes()) + "<br>" + Texts.bytes(contents.repeatedBytes()),
                    Texts.bytes(process.deviceBytes()),
                    Texts.bytes(process.gpuImageBytes()),
                    cell(Texts.mode(process.mode(), process.reason()))));
        }
        table(
                "Processes",
                List.of(
                        "process",
                        "threads",
                        "mappings",
                        "anonymous",
                        "of files",
                        "zero<br>repeated",
                        "device",
                        "stored",
                        "mode"),
                rows);
    }

    private void gpus() {
        var rows = new ArrayList<List<String>>();
        var allocations = new LinkedHashMap<String, Long>();
        for (ImageView.TreeProcess process : image.processes()) {
            for (ImageView.Gpu gpu : process.gpus()) {
                rows.add(List.of(
                        cell("GPU " + gpu.number() + ", " + gpu.name()),
                        String.valueOf(process.pid()),
                        String.valueOf(gpu.allocations()),
                        Texts.bytes(gpu.deviceBytes()),
                        Texts.bytes(gpu.zeroBytes()),
                        Texts.bytes(gpu.repeatedBytes()),
                        gpu.driverBytes() == 0 ? "-" : Texts.bytes(gpu.driverBytes())));
            }
            for (ImageView.Allocation allocation : process.deviceAllocations()) {
                allocations.put(
                        "%s on GPU %d".formatted(allocation.address(), allocation.gpu())
                                + (image.processes().size() > 1 ? " of " + process.pid() : ""),
                        allocation.bytes());
            }
        }
        if (!rows.isEmpty()) {
            table(
                    "Device memory",
                    List.of("", "process", "allocations", "device", "zero", "repeated", "of the driver"),
                    rows);
        }
        var largest = new LinkedHashMap<String, Long>();
        allocations.entrySet().stream()
                .sorted(Map.Entry.<String, Long>comparingByValue().reversed())
                .limit(ImageView.LARGEST)
                .forEach(allocation -> largest.put(allocation.getKey(), allocation.getValue()));
        bars("The largest device allocations", largest);
    }

    private void runs() {
        image.runs()
                .forEach(run -> page.append("<p class=\"soft\">")
                        .append(cell(RunReport.line(run)))
                        .append("</p>\n"));
    }

    private static String cell(String text) {
        return Page.escape(text);
    }

    /** Of cells that are escaped already. */
    private void table(String title, List<String> headings, List<List<String>> rows) {
        page.append("<h2>")
                .append(title)
                .append("</h2>\n<figure>")
                .append(Page.table(headings, rows))
                .append("</figure>\n");
    }
}
