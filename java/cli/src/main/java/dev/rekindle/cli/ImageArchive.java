// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import com.github.luben.zstd.ZstdInputStreamNoFinalizer;
import com.google.gson.JsonSyntaxException;
import dev.rekindle.ErrorCode;
import dev.rekindle.PhaseKind;
import dev.rekindle.ProgressListener;
import java.io.BufferedInputStream;
import java.io.Closeable;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InterruptedIOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.zip.GZIPInputStream;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;
import org.jspecify.annotations.Nullable;

/**
 * A checkpoint in a tar archive, as Podman, CRI-O and containerd export it. What says how large things are is unpacked into a
 * folder, and of memory only the pages of command lines: the other files there are as large as they should be, and empty. Of a
 * large archive that is not compressed most is never read.
 */
final class ImageArchive implements Closeable {
    private static final String INVENTORY = "inventory.img";
    private static final String CONFIGURATION = "config.dump";
    private static final String SPECIFICATION = "spec.dump";
    private static final String ROOT_CHANGES = "rootfs-diff.tar";
    /** Contents of memory and of files. */
    private static final Pattern CONTENTS =
            Pattern.compile("(rekindle-)?pages-.*|ghost-file-.*|tmpfs-.*|ipcns-shm-.*|.*\\.tar(\\..*)?");

    private static final Pattern PAGES = Pattern.compile("pages-(\\d+)\\.img");
    private static final Pattern PAGEMAP = Pattern.compile("pagemap-(\\d+)\\.img");
    /** No image that is read whole is larger. */
    private static final long IMAGE_BYTES_MAX = 64L << 20;

    private static final int PIECE = 1 << 20;

    /** How an archive is packed. */
    enum Compression {
        NONE,
        GZIP,
        ZSTD
    }

    private final Path file;
    private final Compression compression;
    private final TemporaryFolder place;
    private final List<ImageView.File> files = new ArrayList<>();
    /** By the folder in the archive that they are of. */
    private final Map<String, Path> folders = new HashMap<>();

    private final Map<String, String> descriptions = new HashMap<>();
    /** Of pages images, whose command lines could be unpacked when they came by. */
    private final Set<Path> served = new HashSet<>();

    private final Map<Path, Map<Integer, List<CriuImages.Range>>> wanted = new HashMap<>();

    private ImageArchive(Path file, Compression compression, TemporaryFolder place) {
        this.file = file;
        this.compression = compression;
        this.place = place;
    }

    static ImageArchive open(Path file) throws IOException, InterruptedException {
        var archive = new ImageArchive(file, compression(file), TemporaryFolder.make("rekindle-inspect-"));
        try {
            archive.pass(null);
            archive.folder();
            archive.wanted.clear();
            if (archive.isIncomplete()) {
                archive.files.clear();
                archive.pass(null);
            }
            return archive;
        } catch (IOException | InterruptedException | RuntimeException failure) {
            archive.close();
            throw failure;
        }
    }

    private static Compression compression(Path file) throws IOException {
        try (InputStream stream = Files.newInputStream(file)) {
            byte[] magic = stream.readNBytes(4);
            if (magic.length == 4 && magic[0] == 0x28 && magic[1] == (byte) 0xb5 && magic[2] == 0x2f) {
                return Compression.ZSTD;
            }
            return magic.length == 4 && magic[0] == 0x1f && magic[1] == (byte) 0x8b
                    ? Compression.GZIP
                    : Compression.NONE;
        } catch (FileSystemException named) {
            throw named;
        } catch (IOException failure) {
            throw new CommandException(
                    ErrorCode.PERMISSION,
                    "%s cannot be read (%s): name a folder of images, or an export of a container"
                            .formatted(file, RekindleCommand.sentence(failure)));
        }
    }

    /** Where the images are unpacked to. */
    Path folder() {
        return folders.values().stream()
                .filter(folder -> Files.exists(folder.resolve(INVENTORY)))
                .findFirst()
                .orElseThrow(() -> new CommandException(
                        ErrorCode.NO_IMAGE,
                        file + " holds no checkpoint: it is neither an export of a container nor a folder of images"));
    }

    /** All that is in the archive. */
    List<ImageView.File> files() {
        return List.copyOf(files);
    }

    ImageView.Archive view() throws IOException {
        Configuration configuration = description(CONFIGURATION, Configuration.class);
        Specification specification = description(SPECIFICATION, Specification.class);
        return new ImageView.Archive(
                compression,
                Files.size(file),
                bytesOf(Pattern.compile("(.*/)?" + Pattern.quote(ROOT_CHANGES))),
                bytesOf(Pattern.compile("volumes/.*")),
                configuration == null || configuration.name == null ? "" : configuration.name,
                configuration == null || configuration.rootfsImageName == null ? "" : configuration.rootfsImageName,
                specification == null || specification.process == null || specification.process.args == null
                        ? List.of()
                        : specification.process.args);
    }

    private long bytesOf(Pattern names) {
        return files.stream()
                .filter(each -> names.matcher(each.name()).matches())
                .mapToLong(ImageView.File::bytes)
                .sum();
    }

    /** What Podman and CRI-O write of the container, as far as it is of use here. */
    private record Configuration(
            @Nullable String name, @Nullable String rootfsImageName) {}

    /** Of the OCI runtime. */
    private record Specification(@Nullable Program process) {
        private record Program(@Nullable List<String> args) {}
    }

    private <T> @Nullable T description(String name, Class<T> type) {
        try {
            return Json.readForeign(descriptions.getOrDefault(name, ""), type);
        } catch (JsonSyntaxException other) {
            return null;
        }
    }

    /** Unpacks all that belongs to the images. Refuses where there is no room for it. */
    void unpackAll(ProgressListener progress) throws IOException, InterruptedException {
        long bytes = files.stream().mapToLong(ImageView.File::bytes).sum();
        long room = Files.getFileStore(place.path()).getUsableSpace();
        if (room < bytes) {
            throw new CommandException(
                    ErrorCode.NO_SPACE,
                    "unpacking %s takes %s, and %s has %s: set TMPDIR to a folder with more room"
                            .formatted(file, Texts.bytes(bytes), place.path().getParent(), Texts.bytes(room)));
        }
        files.clear();
        pass(progress);
    }

    /** Contents are unpacked where somebody watches. */
    private void pass(@Nullable ProgressListener whole) throws IOException, InterruptedException {
        boolean any = false;
        try (InputStream packed = new Interruptible(Files.newInputStream(file));
                TarArchiveInputStream tar = new TarArchiveInputStream(unpacked(packed))) {
            long done = 0;
            for (TarArchiveEntry entry = tar.getNextEntry(); entry != null; entry = tar.getNextEntry()) {
                any = true;
                if (entry.isFile()) {
                    take(tar, entry, whole != null);
                    done += entry.getRealSize();
                }
                if (whole != null) {
                    whole.onProgress(done, 0, PhaseKind.NONE);
                }
            }
        } catch (IOException | IllegalArgumentException failure) {
            if (Thread.interrupted()) {
                throw new InterruptedException();
            }
            if (any || compression != Compression.NONE) {
                throw new CommandException(
                        ErrorCode.CORRUPT_IMAGE,
                        "%s is cut or damaged (%s): export it again".formatted(file, sentence(failure)));
            }
            throw noArchive();
        }
        if (!any) {
            throw noArchive();
        }
    }

    /** In the middle of a file too, which may be all of an archive. */
    private static final class Interruptible extends FilterInputStream {
        Interruptible(InputStream stream) {
            super(stream);
        }

        @Override
        public int read(byte[] bytes, int offset, int length) throws IOException {
            if (Thread.currentThread().isInterrupted()) {
                throw new InterruptedIOException();
            }
            return super.read(bytes, offset, length);
        }
    }

    /** With the names that the archive has. */
    private String sentence(Exception failure) {
        String sentence = RekindleCommand.sentence(failure);
        for (Path folder : folders.values()) {
            sentence = sentence.replace(folder + "/", "");
        }
        return sentence;
    }

    private IllegalArgumentException noArchive() {
        return new IllegalArgumentException(
                file + " is a file, and no tar archive: name a folder of images, or an export of a container");
    }

    private InputStream unpacked(InputStream packed) throws IOException {
        return switch (compression) {
            case NONE -> packed; // which can be skipped over
            case GZIP -> new GZIPInputStream(packed, PIECE);
            case ZSTD -> new BufferedInputStream(new ZstdInputStreamNoFinalizer(packed), PIECE);
        };
    }

    private void take(TarArchiveInputStream tar, TarArchiveEntry entry, boolean whole) throws IOException {
        String path = entry.getName().replaceFirst("^(\\./|/)+", "");
        String name = path.substring(path.lastIndexOf('/') + 1);
        String parent = path.substring(0, path.length() - name.length());
        files.add(new ImageView.File(path, entry.getRealSize()));
        boolean small = entry.getRealSize() <= IMAGE_BYTES_MAX;
        if (path.equals(CONFIGURATION) || path.equals(SPECIFICATION)) {
            if (small) {
                descriptions.put(path, new String(tar.readAllBytes(), StandardCharsets.UTF_8));
            }
            return;
        }
        if (!name.endsWith(".img") && !name.matches("stats-(dump|restore|rekindle\\.json)|(dump|restore)\\.log")) {
            return;
        }
        Path folder = folders.get(parent);
        if (folder == null) {
            folder = Files.createDirectory(place.path().resolve(String.valueOf(folders.size())));
            folders.put(parent, folder);
        }
        Path to = folder.resolve(name);
        if (whole || (small && !CONTENTS.matcher(name).matches())) {
            Files.copy(tar, to, StandardCopyOption.REPLACE_EXISTING);
        } else {
            outline(tar, entry.getRealSize(), to);
        }
        Files.setLastModifiedTime(to, entry.getLastModifiedTime());
    }

    /** A file of that size, with nothing in it but command lines. */
    private void outline(TarArchiveInputStream tar, long size, Path to) throws IOException {
        try (RandomAccessFile file = new RandomAccessFile(to.toFile(), "rw")) {
            file.setLength(size);
            var pages = PAGES.matcher(String.valueOf(to.getFileName()));
            if (!pages.matches()) {
                return;
            }
            List<CriuImages.Range> ranges = ranges(to.resolveSibling("")).get(Integer.valueOf(pages.group(1)));
            if (ranges == null) {
                return;
            }
            served.add(to);
            long position = 0;
            for (CriuImages.Range range : ranges.stream()
                    .sorted(Comparator.comparingLong(CriuImages.Range::offset))
                    .toList()) {
                long skip = range.offset() - position;
                if (skip >= 0) {
                    tar.skipNBytes(skip);
                    byte[] bytes = tar.readNBytes(range.length());
                    file.seek(range.offset());
                    file.write(bytes);
                    position = range.offset() + bytes.length;
                }
            }
        }
    }

    /** Where command lines are, by pages image, as far as their maps are unpacked already; mostly they come before the pages. */
    private Map<Integer, List<CriuImages.Range>> ranges(Path folder) throws IOException {
        Map<Integer, List<CriuImages.Range>> known = wanted.get(folder);
        if (known != null) {
            return known;
        }
        var ranges = new HashMap<Integer, List<CriuImages.Range>>();
        try (var images = Files.list(folder)) {
            for (Path image : images.toList()) {
                var map = PAGEMAP.matcher(String.valueOf(image.getFileName()));
                if (map.matches()) {
                    CriuImages.Memory memory = CriuImages.memory(folder, Integer.parseInt(map.group(1)));
                    ranges.computeIfAbsent(memory.pagesImage(), number -> new ArrayList<>())
                            .addAll(memory.commandRanges());
                }
            }
        }
        wanted.put(folder, ranges);
        return ranges;
    }

    private boolean isIncomplete() throws IOException {
        Path folder = folder();
        for (Map.Entry<Integer, List<CriuImages.Range>> image : ranges(folder).entrySet()) {
            Path pages = folder.resolve(CriuImages.pagesName(image.getKey()));
            if (!image.getValue().isEmpty() && Files.exists(pages) && !served.contains(pages)) {
                return true;
            }
        }
        return false;
    }

    @Override
    public void close() throws IOException {
        place.close();
    }
}
