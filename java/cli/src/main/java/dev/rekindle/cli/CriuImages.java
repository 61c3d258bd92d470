// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import com.google.protobuf.CodedInputStream;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.WireFormat;
import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/**
 * CRIU's own images and the names in the manifest, as far as the library does not read them. The numbers are those of CRIU's
 * .proto files and of checkpoint_manifest.proto.
 */
final class CriuImages {
    /** Lists the files of a checkpoint. */
    static final String MANIFEST = "rekindle-checkpoint.img";

    private static final int MANIFEST_HEADER_BYTES = 24;
    private static final int PAGE = 4096;
    private static final int MAGIC_BYTES = 8;
    private static final int IN_PARENT = 1;
    private static final int PRESENT = 4;
    private static final int FILE_PRIVATE = 1 << 6;
    private static final int FILE_SHARED = 1 << 7;
    private static final int COMMAND_MAX = 64 * 1024;

    /** Part of an address space. */
    record Mapping(long start, long end, int status) {
        boolean isFile() {
            return (status & (FILE_PRIVATE | FILE_SHARED)) != 0;
        }
    }

    /** Pages that follow each other, and where in the pages image they are; -1 where a parent image has them. */
    record Pages(long address, long count, long offset) {
        long bytes() {
            return count * PAGE;
        }

        boolean holds(long wanted) {
            return offset >= 0 && wanted >= address && wanted < address + bytes();
        }
    }

    /** Bytes of a file. */
    record Range(long offset, int length) {}

    /** The address space of a process. */
    record Memory(List<Mapping> mappings, List<Pages> pages, int pagesImage, long commandStart, long commandEnd) {
        /** Bytes in the pages image of private copies of files' pages. A run may go on over several mappings. */
        long fileBackedBytes() {
            long sum = 0;
            int first = 0;
            for (Pages run : pages) {
                long end = run.address() + run.bytes();
                while (first < mappings.size() && mappings.get(first).end() <= run.address()) {
                    first++;
                }
                for (int i = first;
                        run.offset() >= 0
                                && i < mappings.size()
                                && mappings.get(i).start() < end;
                        i++) {
                    Mapping mapping = mappings.get(i);
                    sum += mapping.isFile()
                            ? Math.min(end, mapping.end()) - Math.max(run.address(), mapping.start())
                            : 0;
                }
            }
            return sum;
        }

        /** Bytes in the pages image. */
        long storedBytes() {
            return pages.stream()
                    .filter(run -> run.offset() >= 0)
                    .mapToLong(Pages::bytes)
                    .sum();
        }

        /** Where the command line is in the pages image, as far as its pages are in it. */
        List<Range> commandRanges() {
            var ranges = new ArrayList<Range>();
            int size = (int) Math.min(Math.max(commandEnd - commandStart, 0), COMMAND_MAX);
            for (int done = 0; done < size; ) {
                long address = commandStart + done;
                Optional<Pages> run =
                        pages.stream().filter(each -> each.holds(address)).findFirst();
                if (run.isEmpty()) {
                    return List.of();
                }
                int length = (int)
                        Math.min(size - done, run.get().address() + run.get().bytes() - address);
                ranges.add(new Range(run.get().offset() + address - run.get().address(), length));
                done += length;
            }
            return ranges;
        }
    }

    private interface EntryReader {
        void read(CodedInputStream entry) throws IOException;
    }

    private CriuImages() {}

    /** The files that the manifest of a folder lists. Whether it is damaged was looked at when it was opened. */
    static Set<String> manifest(Path folder) throws IOException {
        var names = new TreeSet<String>();
        Path file = folder.resolve(MANIFEST);
        byte[] bytes = Files.readAllBytes(file);
        try {
            CodedInputStream manifest = manifestMessage(file, bytes);
            for (int tag = manifest.readTag(); tag != 0; tag = manifest.readTag()) {
                if (WireFormat.getTagFieldNumber(tag) == 5) {
                    names.add(name(manifest.readByteArray(), 1));
                } else {
                    manifest.skipField(tag);
                }
            }
        } catch (InvalidProtocolBufferException damaged) {
            throw damaged(file, damaged);
        }
        if (names.stream().anyMatch(name -> name.isEmpty() || name.contains("/"))) {
            throw damaged(file, null);
        }
        return names;
    }

    /** Behind the header, which manifests of checkpoints and of GPU images have. */
    static CodedInputStream manifestMessage(Path file, byte[] bytes) throws IOException {
        if (bytes.length < MANIFEST_HEADER_BYTES) {
            throw damaged(file, null);
        }
        return CodedInputStream.newInstance(bytes, MANIFEST_HEADER_BYTES, bytes.length - MANIFEST_HEADER_BYTES);
    }

    static IOException damaged(Path file, @Nullable Exception cause) {
        return new Damaged(file + " is cut or damaged: take the checkpoint again", cause);
    }

    /** Of an image that is not as it was written. */
    static final class Damaged extends IOException {
        private static final long serialVersionUID = 1;

        private Damaged(String sentence, @Nullable Exception cause) {
            super(sentence, cause);
        }
    }

    /** The names of the files that the tree had open or mapped. */
    static List<String> fileNames(Path folder) throws IOException {
        var names = new ArrayList<String>();
        Path file = folder.resolve("files.img");
        if (Files.exists(file)) {
            entries(file, entry -> {
                for (int tag = entry.readTag(); tag != 0; tag = entry.readTag()) {
                    if (WireFormat.getTagFieldNumber(tag) == 3) {
                        names.add(name(entry.readByteArray(), 6));
                    } else {
                        entry.skipField(tag);
                    }
                }
            });
        }
        return names;
    }

    private static String name(byte[] message, int field) throws IOException {
        CodedInputStream entry = CodedInputStream.newInstance(message);
        String name = "";
        for (int tag = entry.readTag(); tag != 0; tag = entry.readTag()) {
            if (WireFormat.getTagFieldNumber(tag) == field) {
                name = entry.readString();
            } else {
                entry.skipField(tag);
            }
        }
        return name;
    }

    /** The address space of a process; empty where it has none of its own in the images. */
    static Memory memory(Path folder, long pid) throws IOException {
        var mappings = new ArrayList<Mapping>();
        long[] command = new long[2];
        Path image = folder.resolve("mm-" + pid + ".img");
        if (Files.exists(image)) {
            entries(image, entry -> {
                for (int tag = entry.readTag(); tag != 0; tag = entry.readTag()) {
                    switch (WireFormat.getTagFieldNumber(tag)) {
                        case 8 -> command[0] = entry.readUInt64();
                        case 9 -> command[1] = entry.readUInt64();
                        case 14 -> mappings.add(mapping(entry.readByteArray()));
                        default -> entry.skipField(tag);
                    }
                }
            });
        }
        var pages = new ArrayList<Pages>();
        int pagesImage = pages(folder.resolve("pagemap-" + pid + ".img"), pages);
        return new Memory(mappings, pages, pagesImage, command[0], command[1]);
    }

    private static Mapping mapping(byte[] message) throws IOException {
        CodedInputStream entry = CodedInputStream.newInstance(message);
        long start = 0;
        long end = 0;
        int status = 0;
        for (int tag = entry.readTag(); tag != 0; tag = entry.readTag()) {
            switch (WireFormat.getTagFieldNumber(tag)) {
                case 1 -> start = entry.readUInt64();
                case 2 -> end = entry.readUInt64();
                case 7 -> status = entry.readUInt32();
                default -> entry.skipField(tag);
            }
        }
        return new Mapping(start, end, status);
    }

    /** Returns the number of the pages image, which the first entry has. */
    private static int pages(Path image, List<Pages> pages) throws IOException {
        int[] number = {-1};
        long[] offset = {0};
        if (Files.exists(image)) {
            entries(image, entry -> {
                if (number[0] < 0) {
                    entry.readTag();
                    number[0] = entry.readUInt32();
                    return;
                }
                Pages run = run(entry, offset[0]);
                pages.add(run);
                offset[0] += run.offset() < 0 ? 0 : run.bytes();
            });
        }
        return number[0];
    }

    private static Pages run(CodedInputStream entry, long offset) throws IOException {
        long address = 0;
        long count = 0;
        int flags = PRESENT;
        for (int tag = entry.readTag(); tag != 0; tag = entry.readTag()) {
            switch (WireFormat.getTagFieldNumber(tag)) {
                case 1 -> address = entry.readUInt64();
                case 2 -> count = count == 0 ? entry.readUInt32() : count;
                case 3 -> flags = entry.readBool() ? IN_PARENT : flags;
                case 4 -> flags = entry.readUInt32();
                case 5 -> count = entry.readUInt64();
                default -> entry.skipField(tag);
            }
        }
        return new Pages(address, count, (flags & PRESENT) == 0 || (flags & IN_PARENT) != 0 ? -1 : offset);
    }

    static String pagesName(int number) {
        return "pages-" + number + ".img";
    }

    /** The command line, as far as its pages are in the images. */
    static List<String> command(Path folder, Memory memory) throws IOException {
        Path image = folder.resolve(pagesName(memory.pagesImage()));
        if (memory.pagesImage() < 0 || !Files.exists(image)) {
            return List.of();
        }
        var text = new ByteArrayOutputStream();
        try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "r")) {
            for (Range range : memory.commandRanges()) {
                byte[] bytes = new byte[range.length()];
                file.seek(range.offset());
                file.readFully(bytes);
                text.write(bytes);
            }
        } catch (EOFException cut) {
            throw damaged(image, cut);
        }
        return Arrays.stream(text.toString(StandardCharsets.UTF_8).split("\0", -1))
                .filter(word -> !word.isEmpty())
                .toList();
    }

    private static void entries(Path file, EntryReader reader) throws IOException {
        ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
        try {
            bytes.position(MAGIC_BYTES);
            while (bytes.hasRemaining()) {
                int size = bytes.getInt();
                int start = bytes.position();
                bytes.position(Math.addExact(start, size));
                reader.read(CodedInputStream.newInstance(bytes.array(), start, size));
            }
        } catch (IllegalArgumentException
                | ArithmeticException
                | java.nio.BufferUnderflowException
                | InvalidProtocolBufferException damaged) {
            throw damaged(file, damaged);
        }
    }
}
