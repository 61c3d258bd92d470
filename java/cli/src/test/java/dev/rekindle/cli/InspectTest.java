// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.groups.Tuple.tuple;

import com.google.gson.JsonObject;
import com.google.protobuf.CodedOutputStream;
import dev.rekindle.cli.Cli.Outcome;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.zip.GZIPOutputStream;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;
import org.apache.commons.compress.archivers.tar.TarArchiveOutputStream;
import org.apache.commons.compress.compressors.zstandard.ZstdCompressorInputStream;
import org.apache.commons.compress.compressors.zstandard.ZstdCompressorOutputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Images that others have made, and what is found in them. */
class InspectTest {
    @TempDir
    private Path folder;

    private JsonObject inspect(Path images, String... options) {
        var words = new ArrayList<>(List.of("inspect", images.toString(), "--json"));
        words.addAll(List.of(options));
        return new Cli(folder).succeed(words.toArray(String[]::new)).json();
    }

    private static JsonObject process(JsonObject image) {
        return image.getAsJsonArray("processes").get(0).getAsJsonObject();
    }

    private static List<String> command(JsonObject process) {
        return process.getAsJsonArray("command").asList().stream()
                .map(word -> word.getAsString())
                .toList();
    }

    private static InputStream resource(String name) {
        return Objects.requireNonNull(InspectTest.class.getResourceAsStream(name));
    }

    /** The files of images that are among the resources. */
    private static Map<String, byte[]> files(String name) throws IOException {
        var files = new LinkedHashMap<String, byte[]>();
        try (var tar = new TarArchiveInputStream(new ZstdCompressorInputStream(resource(name)))) {
            for (TarArchiveEntry entry = tar.getNextEntry(); entry != null; entry = tar.getNextEntry()) {
                if (entry.isFile()) {
                    files.put(entry.getName().substring(2), tar.readAllBytes());
                }
            }
        }
        return files;
    }

    private Path unpacked(Map<String, byte[]> files) throws IOException {
        Path images = Files.createDirectory(folder.resolve("images"));
        for (Map.Entry<String, byte[]> file : files.entrySet()) {
            Files.write(images.resolve(file.getKey()), file.getValue());
        }
        return images;
    }

    @ParameterizedTest
    @ValueSource(strings = {"criu-4.1", "criu-4.2", "criu-4.3"})
    void imagesOfStockCriu(String version) throws Exception {
        JsonObject image = inspect(unpacked(files(version + ".tar.zst")), "--contents");
        assertThat(image.get("manifest").getAsBoolean()).isFalse();
        JsonObject process = process(image);
        assertThat(process.get("name").getAsString()).isEqualTo("tiny");
        assertThat(command(process)).hasSize(4).endsWith("serve", "--port", "8000");
        long host = process.get("host_bytes").getAsLong();
        assertThat(host)
                .isEqualTo(process.get("anonymous_bytes").getAsLong()
                        + process.get("file_backed_bytes").getAsLong())
                .isGreaterThan(12 * 4096);
        JsonObject contents = process.getAsJsonObject("contents");
        assertThat(contents.get("zero_bytes").getAsLong()).isBetween(8L * 4096, host);
        assertThat(contents.get("repeated_bytes").getAsLong()).isBetween(3L * 4096, host);
        assertThat(image.getAsJsonArray("runs")).hasSize(1);
        assertThat(image.getAsJsonArray("runs")
                        .get(0)
                        .getAsJsonObject()
                        .getAsJsonObject("criu")
                        .get("pages_written")
                        .getAsLong())
                .isEqualTo(host / 4096);
    }

    private interface Writer {
        void write(CodedOutputStream out) throws IOException;
    }

    private static byte[] message(Writer writer) throws IOException {
        var bytes = new ByteArrayOutputStream();
        CodedOutputStream out = CodedOutputStream.newInstance(bytes);
        writer.write(out);
        out.flush();
        return bytes.toByteArray();
    }

    /** In the form of Podman's exports; also with entries in another order, where pages come before what says whose they are. */
    @ParameterizedTest
    @EnumSource
    void exportOfAContainer(ImageArchive.Compression compression) throws Exception {
        Path archive = folder.resolve("serve.tar");
        export(archive, compression, false);
        JsonObject image = inspect(archive);
        assertThat(command(process(image))).endsWith("serve", "--port", "8000");
        assertThat(image.get("directory").getAsString()).isEqualTo(archive.toString());
        JsonObject packed = image.getAsJsonObject("archive");
        assertThat(packed.get("container").getAsString()).isEqualTo("serve");
        assertThat(packed.get("image").getAsString()).isEqualTo("localhost/serve:latest");
        assertThat(packed.get("rootfs_bytes").getAsLong()).isEqualTo(5000);
        assertThat(packed.get("volume_bytes").getAsLong()).isEqualTo(300);
        assertThat(packed.get("bytes").getAsLong()).isEqualTo(Files.size(archive));
        assertThat(image.getAsJsonArray("largest_files").toString()).contains("\"checkpoint/pages-1.img\"");
        assertThat(image.getAsJsonArray("hints").toString().contains("--compress none"))
                .isEqualTo(compression != ImageArchive.Compression.NONE);
        assertThat(new Cli(folder)
                        .succeed("inspect", archive.toString(), "--tree")
                        .out())
                .contains("container    serve, localhost/serve:latest, python3 serve.py", "(", "serve --port 8000");

        export(archive, compression, true);
        JsonObject again = inspect(archive, "--contents");
        assertThat(command(process(again))).endsWith("serve", "--port", "8000");
        assertThat(process(again).getAsJsonObject("contents").get("zero_bytes").getAsLong())
                .isGreaterThan(7 * 4096);
    }

    /** One that Podman itself has made. */
    @Test
    void exportOfPodman() throws Exception {
        Path archive = folder.resolve("serve.tar.zst");
        try (InputStream podman = resource("podman-4.3.tar.zst")) {
            Files.copy(podman, archive);
        }
        JsonObject image = inspect(archive, "--contents");
        assertThat(command(process(image))).containsExactly("/tiny", "serve", "--port", "8000");
        JsonObject packed = image.getAsJsonObject("archive");
        assertThat(packed.get("container").getAsString()).isEqualTo("serve");
        assertThat(packed.get("image").getAsString()).isEqualTo("localhost/serve:latest");
        assertThat(packed.get("compression").getAsString()).isEqualTo("zstd");
        assertThat(packed.get("rootfs_bytes").getAsLong()).isEqualTo(3072);
        assertThat(process(image).getAsJsonObject("contents").get("zero_bytes").getAsLong())
                .isGreaterThanOrEqualTo(8 * 4096);
    }

    private static void export(Path file, ImageArchive.Compression compression, boolean reversed) throws IOException {
        var entries = new LinkedHashMap<String, byte[]>();
        files("criu-4.2.tar.zst").forEach((name, bytes) -> entries.put("checkpoint/" + name, bytes));
        entries.put("config.dump", text("""
                {"id":"0123","name":"serve","rootfsImageName":"localhost/serve:latest","ociRuntime":"/usr/bin/runc"}"""));
        entries.put("spec.dump", text("{\"ociVersion\":\"1.0.0\",\"process\":{\"args\":[\"python3\",\"serve.py\"]}}"));
        entries.put("rootfs-diff.tar", new byte[5000]);
        entries.put("volumes/models.tar", new byte[300]);
        List<String> names = new ArrayList<>(entries.keySet());
        if (reversed) {
            Collections.reverse(names);
        }
        try (var tar = new TarArchiveOutputStream(packed(Files.newOutputStream(file), compression))) {
            for (String name : names) {
                byte[] bytes = Objects.requireNonNull(entries.get(name));
                TarArchiveEntry entry = new TarArchiveEntry(name);
                entry.setSize(bytes.length);
                tar.putArchiveEntry(entry);
                tar.write(bytes);
                tar.closeArchiveEntry();
            }
        }
    }

    private static OutputStream packed(OutputStream out, ImageArchive.Compression compression) throws IOException {
        return switch (compression) {
            case NONE -> out;
            case GZIP -> new GZIPOutputStream(out);
            case ZSTD -> new ZstdCompressorOutputStream(out);
        };
    }

    private static byte[] text(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    @Test
    void fileThatVanishesMeanwhileIsMissedInTheImage() {
        var source = new ImageSource(folder, folder, null);
        assertThatExceptionOfType(CommandException.class)
                .isThrownBy(() -> source.named(() -> Files.readString(folder.resolve("pages-3.img"))))
                .withMessage("there is no " + folder.resolve("pages-3.img"))
                .satisfies(failure -> assertThat(ExitStatus.of(failure)).isEqualTo(12));
    }

    @Test
    void archiveThatCannotBeReadIsSaid() throws Exception {
        Path archive = folder.resolve("serve.tar");
        export(archive, ImageArchive.Compression.ZSTD, false);
        byte[] whole = Files.readAllBytes(archive);
        Files.write(archive, Arrays.copyOf(whole, whole.length / 2));
        assertRefused(archive, 12, "export it again");
        export(archive, ImageArchive.Compression.NONE, false);
        whole = Files.readAllBytes(archive);
        Files.write(archive, Arrays.copyOf(whole, whole.length / 2));
        assertRefused(archive, 12, "export it again");
        Files.writeString(archive, "This is no tar archive.".repeat(100));
        assertRefused(archive, 2, "no tar archive");
        try (var tar = new TarArchiveOutputStream(Files.newOutputStream(archive))) {
            TarArchiveEntry entry = new TarArchiveEntry("readme");
            tar.putArchiveEntry(entry);
            tar.closeArchiveEntry();
        }
        assertRefused(archive, 11, "holds no checkpoint");
    }

    /** The images in it are damaged: what is said names the archive, and not where it was unpacked. The library reads one. */
    @ParameterizedTest
    @ValueSource(strings = {"core-", "mm-"})
    void damagedImageInAnArchiveIsNamed(String image) throws Exception {
        Path archive = folder.resolve("serve.tar");
        try (var tar = new TarArchiveOutputStream(Files.newOutputStream(archive))) {
            for (Map.Entry<String, byte[]> file : files("criu-4.2.tar.zst").entrySet()) {
                boolean damaged = file.getKey().startsWith(image);
                byte[] bytes = damaged ? Arrays.copyOf(file.getValue(), 100) : file.getValue();
                TarArchiveEntry entry = new TarArchiveEntry("./" + file.getKey());
                entry.setSize(bytes.length);
                tar.putArchiveEntry(entry);
                tar.write(bytes);
                tar.closeArchiveEntry();
            }
        }
        Outcome outcome = assertRefused(archive, 12, image);
        assertThat(outcome.err()).doesNotContain("rekindle-inspect-");
    }

    /** Channels say it with an exception of their own, and an archive is read to the end of a file otherwise. */
    @Test
    void interruptIsSaidAsOne() throws Exception {
        Path images = Files.createDirectory(folder.resolve("images"));
        Path archive = folder.resolve("serve.tar");
        export(archive, ImageArchive.Compression.GZIP, false);
        for (Map.Entry<String, byte[]> file : files("criu-4.2.tar.zst").entrySet()) {
            Files.write(images.resolve(file.getKey()), file.getValue());
        }
        for (List<String> words : List.of(
                List.of("inspect", images.toString(), "--contents"),
                List.of("inspect", archive.toString()),
                List.of("doctor", "--images", folder.toString()))) {
            Thread.currentThread().interrupt();
            Outcome outcome;
            try {
                outcome = new Cli(folder).run(words.toArray(String[]::new));
            } finally {
                Thread.interrupted();
            }
            assertThat(outcome.exitCode()).as(words + outcome.err()).isEqualTo(18);
            assertThat(outcome.err()).isEqualTo("rekindle: interrupted\n");
        }
    }

    private Outcome assertRefused(Path archive, int status, String named) {
        Outcome outcome = new Cli(folder).run("inspect", archive.toString());
        assertThat(outcome.exitCode()).as(outcome.err()).isEqualTo(status);
        assertThat(outcome.err()).contains(archive.toString(), named).hasLineCount(1);
        assertThat(outcome.out()).isEmpty();
        return outcome;
    }

    @Test
    void runOfPagesGoesOnOverMappings() {
        long page = 4096;
        int file = 1 << 6;
        var memory = new CriuImages.Memory(
                List.of(
                        new CriuImages.Mapping(0, 2 * page, 0),
                        new CriuImages.Mapping(2 * page, 5 * page, file),
                        new CriuImages.Mapping(8 * page, 9 * page, file)),
                List.of(
                        new CriuImages.Pages(page, 3, 0),
                        new CriuImages.Pages(4 * page, 1, -1),
                        new CriuImages.Pages(8 * page, 1, 3 * page)),
                1,
                page + 4000,
                page + 4200);
        assertThat(memory.storedBytes()).isEqualTo(4 * page);
        assertThat(memory.fileBackedBytes()).isEqualTo(3 * page);
        assertThat(memory.commandRanges()).containsExactly(new CriuImages.Range(4000, 200));
    }

    /** Two GPUs, and chunks of zeros, of the same and of others, in the packed form and in the one of single numbers. */
    @Test
    void deviceMemoryThatIsZeroOrRepeated() throws Exception {
        long mib = 1 << 20;
        byte[] first = message(out -> {
            out.writeUInt64(2, 0x7f0000000000L);
            out.writeUInt64(3, 4 * mib);
            out.writeUInt32(4, 0);
            out.writeByteArray(6, longs(0, 11, 11, 12));
            out.writeByteArray(7, new byte[] {1, 0, 0, 0});
        });
        byte[] second = message(out -> {
            out.writeUInt64(3, mib + mib / 2);
            out.writeUInt32(4, 1);
            out.writeFixed64(6, 12);
            out.writeFixed64(6, 11);
            out.writeByteArray(7, new byte[] {0, 0});
        });
        byte[] image = message(out -> {
            out.writeUInt64(9, mib);
            for (int i = 0; i < 2; i++) {
                int number = i;
                out.writeByteArray(13, message(device -> {
                    device.writeByteArray(1, new byte[16]);
                    device.writeString(2, "H200");
                    device.writeInt32(3, 4 + number);
                    device.writeUInt64(5, 500 * mib);
                }));
            }
            out.writeByteArray(14, first);
            out.writeByteArray(14, second);
        });
        var file = new ByteArrayOutputStream();
        file.write(new byte[24]);
        file.write(image);
        Files.write(folder.resolve("rekindle-77-" + "0".repeat(32) + ".img"), file.toByteArray());
        GpuImages.GpuImage found = GpuImages.of(folder, 77);
        assertThat(found.devices())
                .extracting(GpuImages.Device::number, GpuImages.Device::driverBytes)
                .containsExactly(tuple(4, 500 * mib), tuple(5, 500 * mib));
        assertThat(found.allocations())
                .containsExactly(
                        new GpuImages.Allocation(0, 0x7f0000000000L, 4 * mib, mib, mib),
                        new GpuImages.Allocation(1, 0, mib + mib / 2, 0, mib));
        assertThat(GpuImages.of(folder, 7).devices()).isEmpty();
    }

    private static byte[] longs(long... values) {
        ByteBuffer bytes = ByteBuffer.allocate(8 * values.length).order(ByteOrder.LITTLE_ENDIAN);
        for (long value : values) {
            bytes.putLong(value);
        }
        return bytes.array();
    }
}
