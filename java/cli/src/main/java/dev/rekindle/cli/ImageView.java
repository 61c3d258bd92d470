// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.CheckpointImage;
import dev.rekindle.GpuUse;
import dev.rekindle.ImageProcess;
import dev.rekindle.Mode;
import dev.rekindle.RekindleException;
import dev.rekindle.RunKind;
import dev.rekindle.RunStatistics;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import org.jspecify.annotations.Nullable;

/** What a folder holds, for programs: what the library reads of it, and what CRIU's own images say. */
record ImageView(
        Path directory,
        @Nullable Archive archive,
        Instant created,
        String criuVersion,
        boolean simulated,
        String gpu,
        String gpuUuid,
        String driver,
        int driverVersion,
        boolean usesCudaPlugin,
        boolean manifest,
        long rootPid,
        long hostBytes,
        long deviceBytes,
        long gpuImageBytes,
        long linkedBytes,
        long deadBytes,
        Sizes sizes,
        List<TreeProcess> processes,
        List<File> largestFiles,
        Disk disk,
        List<RunView> runs,
        @Nullable Long verifiedBytes,
        List<String> hints) {
    static final int LARGEST = 20;

    /** Sizes of the files, by what they hold. */
    record Sizes(long processMemoryBytes, long gpuMemoryBytes, long filesBytes, long networkBytes, long otherBytes) {
        long total() {
            return processMemoryBytes + gpuMemoryBytes + filesBytes + networkBytes + otherBytes;
        }
    }

    /** A tar archive with the export of a container, and what it says of that; what it does not say is empty. */
    record Archive(
            ImageArchive.Compression compression,
            long bytes,
            long rootfsBytes,
            long volumeBytes,
            String container,
            String image,
            List<String> command) {}

    /** What the images are on. How fast it is where it was measured. */
    record Disk(String fileSystem, @Nullable Long readBytesPerSecond) {}

    /** What a process has on a GPU, by its number on the machine of the dump; driverBytes are 0 where they are not known. */
    record Gpu(
            int number,
            String name,
            String uuid,
            int allocations,
            long deviceBytes,
            long zeroBytes,
            long repeatedBytes,
            long driverBytes) {}

    /** Device memory of a process, in pieces that it has asked for. */
    record Allocation(int gpu, String address, long bytes, long zeroBytes, long repeatedBytes) {}

    /** A process of the tree. The contents of its host memory where they were read. */
    record TreeProcess(
            long pid,
            long parentPid,
            String name,
            List<String> command,
            int threads,
            int mappings,
            long hostBytes,
            long anonymousBytes,
            long fileBackedBytes,
            @Nullable PageContents contents,
            Mode mode,
            String reason,
            int allocations,
            long deviceBytes,
            long gpuImageBytes,
            long linkedBytes,
            long deadBytes,
            List<String> linkedTo,
            List<Gpu> gpus,
            List<Allocation> deviceAllocations) {}

    /** A file of the folder. */
    record File(String name, long bytes) {}

    /** Who reads the pages images, which takes long, or null for nobody. */
    interface ContentsReader {
        PageContents read(Path image) throws IOException;
    }

    static ImageView of(
            ImageSource source, CheckpointImage image, @Nullable Long verified, @Nullable ContentsReader contents)
            throws IOException {
        List<TreeProcess> processes = new ArrayList<>();
        for (ImageProcess process : image.processes()) {
            processes.add(source.named(() -> process(source.folder(), process, contents)));
        }
        List<File> files = source.files();
        OptionalLong rate = ReadRate.measure(source.largestFile());
        var hints = new ArrayList<String>();
        var view = new ImageView(
                source.path(),
                source.archive() == null ? null : source.archive().view(),
                image.created(),
                image.criuVersion().orElse(""),
                image.simulated(),
                image.gpus().stream().findFirst().map(GpuUse::model).orElse(""),
                image.gpus().stream().findFirst().map(GpuUse::uuid).orElse(""),
                image.driver().orElse(""),
                image.driverVersion().orElse(0),
                image.usesCudaPlugin(),
                image.hasManifest(),
                image.rootPid(),
                image.hostBytes(),
                image.deviceBytes(),
                image.imageBytes(),
                image.linkedBytes(),
                image.deadBytes(),
                sizes(files, source.archive() == null ? image.imageBytes() : -1),
                processes,
                files.stream().limit(LARGEST).toList(),
                new Disk(
                        Files.getFileStore(source.path()).type(),
                        rate.isPresent() ? Long.valueOf(rate.getAsLong()) : null),
                runs(source.folder()),
                verified,
                hints);
        hints.addAll(ImageHints.of(view));
        return view;
    }

    /** Those that left statistics beside the images. */
    private static List<RunView> runs(Path folder) {
        return Arrays.stream(RunKind.values())
                .flatMap(kind -> run(folder, kind).stream())
                .toList();
    }

    private static Optional<RunView> run(Path folder, RunKind kind) {
        try {
            return Optional.of(RunView.of(RunStatistics.read(folder, kind)));
        } catch (RekindleException none) {
            return Optional.empty();
        }
    }

    private static TreeProcess process(Path folder, ImageProcess process, @Nullable ContentsReader contents)
            throws IOException {
        CriuImages.Memory memory = CriuImages.memory(folder, process.pid());
        GpuImages.GpuImage gpu = GpuImages.of(folder, process.pid());
        long ofFiles = memory.fileBackedBytes();
        Path pages = folder.resolve(CriuImages.pagesName(memory.pagesImage()));
        return new TreeProcess(
                process.pid(),
                process.parentPid(),
                process.name(),
                CriuImages.command(folder, memory),
                process.threads(),
                memory.mappings().size(),
                process.hostBytes(),
                memory.storedBytes() - ofFiles,
                ofFiles,
                contents == null || !Files.exists(pages) ? null : contents.read(pages),
                process.mode(),
                process.reason().orElse(""),
                process.allocations(),
                process.deviceBytes(),
                process.gpuImage().bytes(),
                process.gpuImage().linkedBytes(),
                process.gpuImage().deadBytes(),
                process.gpuImage().linkedTo(),
                gpus(gpu),
                gpu.allocations().stream()
                        .map(allocation -> new Allocation(
                                gpu.devices().get(allocation.device()).number(),
                                "0x" + Long.toHexString(allocation.address()),
                                allocation.bytes(),
                                allocation.zeroBytes(),
                                allocation.repeatedBytes()))
                        .toList());
    }

    private static List<Gpu> gpus(GpuImages.GpuImage image) {
        var gpus = new ArrayList<Gpu>();
        for (int i = 0; i < image.devices().size(); i++) {
            GpuImages.Device device = image.devices().get(i);
            int number = i;
            List<GpuImages.Allocation> on = image.allocations().stream()
                    .filter(allocation -> allocation.device() == number)
                    .toList();
            gpus.add(new Gpu(
                    device.number(),
                    device.name(),
                    device.uuid(),
                    on.size(),
                    on.stream().mapToLong(GpuImages.Allocation::bytes).sum(),
                    on.stream().mapToLong(GpuImages.Allocation::zeroBytes).sum(),
                    on.stream().mapToLong(GpuImages.Allocation::repeatedBytes).sum(),
                    device.driverBytes()));
        }
        return gpus;
    }

    /** GPU images have holes, so what is stored of them is told where it is known; in an archive they are filled. */
    private static Sizes sizes(List<File> files, long gpuBytes) {
        long[] sums = new long[5];
        for (File file : files) {
            sums[kind(file.name().substring(file.name().lastIndexOf('/') + 1))] += file.bytes();
        }
        return new Sizes(sums[0], gpuBytes < 0 ? sums[1] : gpuBytes, sums[2], sums[3], sums[4]);
    }

    /** Its place in {@link Sizes}. */
    private static int kind(String name) {
        if (name.matches("(rekindle-)?pages-.*|ipcns-shm-.*")) {
            return name.startsWith("rekindle-") ? 1 : 0;
        }
        if (name.matches(
                "(files|reg-files|fdinfo|fs|ghost-file|remap-fpath|pipes?|fifo|tty|filelocks|mountpoints|tmpfs).*\\.img"
                        + "|.*\\.tar(\\..*)?|deleted\\.files")) {
            return 2;
        }
        return name.matches(
                        "(tcp-stream|netdev|ifaddr|route|rule|ip6?tables|nftables|netns|netlinksk|inetsk|unixsk|packetsk"
                                + "|sk-queues).*|network\\.status")
                ? 3
                : 4;
    }
}
