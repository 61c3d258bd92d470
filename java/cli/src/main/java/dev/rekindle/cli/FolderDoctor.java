// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static dev.rekindle.cli.Finding.Status.FAIL;
import static dev.rekindle.cli.Finding.Status.WARN;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.FileChannel;
import java.nio.file.FileStore;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;

/** A folder for images. */
final class FolderDoctor {
    private static final long ROOM = 1L << 30;
    private static final int PIECE = 4 << 20;
    private static final int PIECES = 16;

    /** There is no setting that names one: each checkpoint is told its own. */
    static final Finding NOT_NAMED = Finding.pass(
            "images folder",
            "not looked at: with --images DIR its kind, room, rate and left link_remap files are said too");

    private FolderDoctor() {}

    static List<Finding> examine(Path folder) throws IOException {
        var findings = new ArrayList<Finding>();
        if (!Files.isDirectory(folder)) {
            throw new IllegalArgumentException("there is no folder " + folder);
        }
        FileStore store = Files.getFileStore(folder);
        findings.add(Finding.of(
                WARN,
                store.getUsableSpace() >= ROOM,
                "images folder",
                folder + ": " + store.type() + ", " + Texts.bytes(store.getUsableSpace()) + " free",
                "room for host and device memory, twice where a checkpoint is there already",
                "make room, or take another folder"));
        try {
            findings.add(Finding.pass("images rate", Texts.bytes(writeRate(folder)) + "/s written, to the disk"));
        } catch (ClosedByInterruptException end) {
            throw end;
        } catch (IOException failure) {
            findings.add(new Finding(
                    "images rate",
                    FAIL,
                    "a file cannot be written: " + failure.getMessage(),
                    "a folder that can be written",
                    "take another folder, or make room"));
        }
        if (store.type().equals("tmpfs")) {
            findings.add(hugePages(TmpfsMount.of(folder)));
        }
        List<Path> links = LinkRemaps.of(folder);
        findings.add(Finding.of(
                WARN,
                links.isEmpty(),
                "link_remap files",
                links.isEmpty() ? "none of a checkpoint in it" : links.toString(),
                "none once its process was restored or is no longer wanted",
                "keep them while the checkpoint is wanted; a dump of 'rekindle' into the folder removes them"));
        return findings;
    }

    /** benchmarks/results/h200-2026-11-30-second has what they are worth. */
    static Finding hugePages(TmpfsMount mount) {
        return Finding.of(
                WARN,
                mount.huge(),
                "images in huge pages",
                mount.huge() ? mount.options() : mount.folder() + " is a tmpfs of small pages",
                "huge=within_size, which halves the time in which images are written and read back there",
                "mount -o remount,huge=within_size " + mount.folder() + "; files that are there stay as they are");
    }

    private static long writeRate(Path folder) throws IOException {
        Path file = Files.createTempFile(folder, ".rekindle-doctor-", "");
        try (FileChannel channel =
                FileChannel.open(file, StandardOpenOption.WRITE, StandardOpenOption.DELETE_ON_CLOSE)) {
            ByteBuffer piece = ByteBuffer.allocateDirect(PIECE);
            long start = System.nanoTime();
            for (int i = 0; i < PIECES; i++) {
                piece.clear();
                while (piece.hasRemaining()) {
                    channel.write(piece);
                }
            }
            channel.force(true);
            return (long) PIECE * PIECES * 1_000_000_000 / Math.max(1, System.nanoTime() - start);
        }
    }
}
