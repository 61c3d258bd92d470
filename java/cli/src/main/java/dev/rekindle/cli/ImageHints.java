// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.Mode;
import java.util.ArrayList;
import java.util.List;

/** What can be done about what a checkpoint holds. */
final class ImageHints {
    /** From here on, memory is worth a thought. */
    private static final long MUCH = 1L << 30;
    /** From here on, files are. */
    private static final long SOME = 64L << 20;

    private static final long SLOW_SECONDS = 5;

    private final ImageView image;
    private final List<String> hints = new ArrayList<>();

    private ImageHints(ImageView image) {
        this.image = image;
    }

    static List<String> of(ImageView image) {
        var hints = new ImageHints(image);
        image.processes().forEach(hints::process);
        hints.archive();
        hints.disk();
        if (image.usesCudaPlugin() && image.processes().stream().allMatch(process -> process.mode() == Mode.NONE)) {
            hints.add(
                    "CRIU's own CUDA plugin made it: device memory is part of the process memory, and comes back slowly;"
                            + " start the program with 'rekindle run', and dump it with 'rekindle dump'");
        }
        if (!image.manifest()) {
            hints.add("no manifest: nothing says whether all files are here and as they were written");
        }
        return hints.hints;
    }

    private void add(String hint) {
        hints.add(hint);
    }

    private void process(ImageView.TreeProcess process) {
        if (process.mode() == Mode.NATIVE) {
            add("process %d travels in the slow native mode (%s): start it with 'rekindle run'"
                    .formatted(process.pid(), process.reason()));
        }
        if (process.mode() != Mode.NONE && process.anonymousBytes() > MUCH) {
            add(("process %d has %s of anonymous host memory: weights that it loads with mmap from a file would not"
                            + " travel in the image")
                    .formatted(process.pid(), Texts.bytes(process.anonymousBytes())));
        }
        PageContents contents = process.contents();
        if (contents != null && contents.zeroBytes() > MUCH) {
            add(("process %d has %s of zeros in its host memory: buffers that it frees before a dump (madvise with"
                            + " MADV_DONTNEED) take no room")
                    .formatted(process.pid(), Texts.bytes(contents.zeroBytes())));
        }
        long zero = process.gpus().stream().mapToLong(ImageView.Gpu::zeroBytes).sum();
        if (zero > MUCH) {
            add(("process %d: %s of its %s of device memory are zero, as an empty KV cache is: they take no room in the"
                            + " image, and a smaller cache would leave the GPU to others")
                    .formatted(process.pid(), Texts.bytes(zero), Texts.bytes(process.deviceBytes())));
        }
        long repeated =
                process.gpus().stream().mapToLong(ImageView.Gpu::repeatedBytes).sum();
        if (repeated > MUCH) {
            add(("process %d: %s of its device memory are copies of other parts of it, as weights that were loaded"
                            + " twice are")
                    .formatted(process.pid(), Texts.bytes(repeated)));
        }
    }

    private void archive() {
        ImageView.Archive archive = image.archive();
        if (archive == null) {
            return;
        }
        if (archive.compression() != ImageArchive.Compression.NONE) {
            add("the archive is compressed (%s), and each restore decompresses it: export with --compress none"
                    .formatted(Texts.lower(archive.compression())));
        }
        if (archive.rootfsBytes() > SOME) {
            add(("%s of changes to the container's files are in the archive, and each restore copies them: keep models"
                            + " and caches in the image or in a volume, or export with --ignore-rootfs")
                    .formatted(Texts.bytes(archive.rootfsBytes())));
        }
        if (archive.volumeBytes() > SOME) {
            add(("%s of volumes are in the archive, and each restore copies them: export with --ignore-volumes where"
                            + " they stay on the machine")
                    .formatted(Texts.bytes(archive.volumeBytes())));
        }
    }

    private void disk() {
        ImageView.Disk disk = image.disk();
        Long rate = disk.readBytesPerSecond();
        long bytes = image.archive() == null
                ? image.sizes().total()
                : image.archive().bytes();
        if (rate != null && rate > 0 && bytes / rate >= SLOW_SECONDS) {
            add(
                    ("the disk (%s) gives %s a second, so reading %s takes %d s where they are not in memory: keep them on a"
                                    + " faster one, or in tmpfs")
                            .formatted(disk.fileSystem(), Texts.bytes(rate), Texts.bytes(bytes), bytes / rate));
        }
        if (disk.fileSystem().matches("nfs.*|cifs|smb.*|fuse.*|9p|ceph|lustre|gpfs|virtiofs")) {
            add("the images are on %s: REKINDLE_READ_AHEAD=1 reads CRIU's part ahead, and a local copy is faster"
                    .formatted(disk.fileSystem()));
        }
    }
}
