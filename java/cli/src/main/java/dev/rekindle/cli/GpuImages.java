// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import com.google.protobuf.CodedInputStream;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.WireFormat;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * What the manifests of GPU images say of each allocation, as far as the library does not. Whether they are damaged was looked
 * at when the folder was opened; the numbers are those of gpu_image.proto.
 */
final class GpuImages {
    private static final Pattern NAME = Pattern.compile("rekindle-(\\d+)(-[0-9a-f]{32})?\\.img");

    /** A GPU of the machine of the dump. What the driver held there for the process itself; 0 where that is not known. */
    record Device(int number, String name, String uuid, long driverBytes) {}

    /** Device memory. Repeated is what some chunk before it holds too, of this allocation or of another of the process. */
    record Allocation(int device, long address, long bytes, long zeroBytes, long repeatedBytes) {}

    /** Of one process. */
    record GpuImage(List<Device> devices, List<Allocation> allocations) {}

    private GpuImages() {}

    /** Of the dump in the folder, and not of an earlier one that left a manifest behind. */
    static GpuImage of(Path folder, long pid) throws IOException {
        Set<String> listed = Files.exists(folder.resolve(CriuImages.MANIFEST)) ? CriuImages.manifest(folder) : Set.of();
        try (Stream<Path> files = Files.list(folder)) {
            for (Path file : files.toList()) {
                String name = String.valueOf(file.getFileName());
                Matcher matcher = NAME.matcher(name);
                if (matcher.matches()
                        && matcher.group(1).equals(String.valueOf(pid))
                        && (listed.isEmpty() || listed.contains(name))) {
                    return read(file);
                }
            }
        }
        return new GpuImage(List.of(), List.of());
    }

    private static GpuImage read(Path file) throws IOException {
        byte[] bytes = Files.readAllBytes(file);
        var devices = new ArrayList<Device>();
        var messages = new ArrayList<byte[]>();
        long chunk = 0;
        try {
            CodedInputStream image = CriuImages.manifestMessage(file, bytes);
            for (int tag = image.readTag(); tag != 0; tag = image.readTag()) {
                switch (WireFormat.getTagFieldNumber(tag)) {
                    case 9 -> chunk = image.readUInt64();
                    case 13 -> devices.add(device(image.readByteArray()));
                    case 14 -> messages.add(image.readByteArray());
                    default -> image.skipField(tag);
                }
            }
            var seen = new HashSet<Long>();
            var allocations = new ArrayList<Allocation>();
            for (byte[] message : messages) {
                allocations.add(allocation(message, chunk, seen));
            }
            return new GpuImage(devices, allocations);
        } catch (InvalidProtocolBufferException damaged) {
            throw CriuImages.damaged(file, damaged);
        }
    }

    private static Device device(byte[] message) throws IOException {
        CodedInputStream device = CodedInputStream.newInstance(message);
        String uuid = "";
        String name = "";
        int number = 0;
        long driver = 0;
        for (int tag = device.readTag(); tag != 0; tag = device.readTag()) {
            switch (WireFormat.getTagFieldNumber(tag)) {
                case 1 -> uuid = uuid(device.readByteBuffer());
                case 2 -> name = device.readString();
                case 3 -> number = device.readInt32();
                case 5 -> driver = device.readUInt64();
                default -> device.skipField(tag);
            }
        }
        return new Device(number, name, uuid, driver);
    }

    /** As nvidia-smi prints it. */
    private static String uuid(ByteBuffer bytes) {
        return bytes.remaining() == 16 ? "GPU-" + new UUID(bytes.getLong(), bytes.getLong()) : "";
    }

    private static Allocation allocation(byte[] message, long chunk, Set<Long> seen) throws IOException {
        CodedInputStream allocation = CodedInputStream.newInstance(message);
        long address = 0;
        long bytes = 0;
        int device = 0;
        var checksums = new ArrayList<Long>();
        byte[] zero = {};
        for (int tag = allocation.readTag(); tag != 0; tag = allocation.readTag()) {
            switch (WireFormat.getTagFieldNumber(tag)) {
                case 2 -> address = allocation.readUInt64();
                case 3 -> bytes = allocation.readUInt64();
                case 4 -> device = allocation.readUInt32();
                case 6 -> readChecksums(allocation, tag, checksums);
                case 7 -> zero = allocation.readByteArray();
                default -> allocation.skipField(tag);
            }
        }
        long zeroBytes = 0;
        long repeatedBytes = 0;
        for (int i = 0; i < checksums.size(); i++) {
            long size = Math.min(chunk, bytes - i * chunk);
            if (i < zero.length && zero[i] != 0) {
                zeroBytes += size;
            } else if (size == chunk && !seen.add(checksums.get(i))) {
                repeatedBytes += size;
            }
        }
        return new Allocation(device, address, bytes, zeroBytes, repeatedBytes);
    }

    private static void readChecksums(CodedInputStream from, int tag, List<Long> to) throws IOException {
        if (WireFormat.getTagWireType(tag) != WireFormat.WIRETYPE_LENGTH_DELIMITED) {
            to.add(from.readFixed64());
            return;
        }
        int limit = from.pushLimit(from.readRawVarint32());
        while (from.getBytesUntilLimit() > 0) {
            to.add(from.readFixed64());
        }
        from.popLimit(limit);
    }
}
