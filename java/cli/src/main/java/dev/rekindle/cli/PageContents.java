// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.function.LongConsumer;
import java.util.zip.CRC32;
import java.util.zip.CRC32C;

/**
 * What a pages image holds.
 *
 * @param zeroBytes in pages of nothing but zeros
 * @param repeatedBytes in pages of which the image holds the like already
 */
record PageContents(long zeroBytes, long repeatedBytes) {
    private static final int PAGE = 4096;
    private static final int PIECE = 4 << 20;

    /** Pages are told apart by two checksums of 32 bits, which do not agree by chance. */
    static PageContents of(Path image, LongConsumer progress) throws IOException {
        long[] checksums = new long[Math.toIntExact(Files.size(image) / PAGE)];
        MemorySegment none = MemorySegment.ofArray(new byte[PAGE]);
        ByteBuffer piece = ByteBuffer.allocateDirect(PIECE);
        int zero = 0;
        int other = 0;
        long done = 0;
        try (FileChannel channel = FileChannel.open(image)) {
            while (true) {
                piece.clear();
                int read;
                do {
                    read = channel.read(piece);
                } while (read >= 0 && piece.hasRemaining());
                int pages = piece.flip().limit() / PAGE;
                MemorySegment contents = MemorySegment.ofBuffer(piece);
                for (int i = 0; i < pages && zero + other < checksums.length; i++) {
                    long start = (long) i * PAGE;
                    if (MemorySegment.mismatch(contents, start, start + PAGE, none, 0, PAGE) < 0) {
                        zero++;
                    } else {
                        checksums[other++] = checksum(piece.slice(i * PAGE, PAGE));
                    }
                }
                done += (long) pages * PAGE;
                progress.accept(done);
                if (pages < PIECE / PAGE) {
                    break;
                }
            }
        }
        Arrays.parallelSort(checksums, 0, other);
        int repeated = 0;
        for (int i = 1; i < other; i++) {
            repeated += checksums[i] == checksums[i - 1] ? 1 : 0;
        }
        return new PageContents((long) zero * PAGE, (long) repeated * PAGE);
    }

    private static long checksum(ByteBuffer page) {
        var one = new CRC32();
        one.update(page.duplicate());
        var two = new CRC32C();
        two.update(page);
        return one.getValue() << 32 | two.getValue();
    }
}
