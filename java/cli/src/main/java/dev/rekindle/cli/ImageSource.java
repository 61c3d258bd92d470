// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.CheckpointImage;
import dev.rekindle.ErrorCode;
import dev.rekindle.ProgressListener;
import dev.rekindle.RekindleException;
import java.io.Closeable;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Where images are read from.
 *
 * @param path what the user has named: a folder, or an archive
 * @param folder where they are, or what is unpacked of them
 * @param archive that they are in, or null
 */
record ImageSource(Path path, Path folder, @Nullable ImageArchive archive) implements Closeable {
    static ImageSource open(Path path) throws IOException, InterruptedException {
        if (!Files.isRegularFile(path)) {
            return new ImageSource(path.toAbsolutePath(), path, null);
        }
        ImageArchive archive = ImageArchive.open(path.toAbsolutePath());
        return new ImageSource(path.toAbsolutePath(), archive.folder(), archive);
    }

    /** Of an archive too, so that contents can be read. */
    void unpackAll(ProgressListener progress) throws IOException, InterruptedException {
        if (archive != null) {
            archive.unpackAll(progress);
        }
    }

    /** What an action has to say of the folder is said of what the user has named. */
    <T> T named(Action<T> action) throws IOException {
        try {
            return action.run();
        } catch (RekindleException | IOException failure) {
            boolean gone = failure instanceof NoSuchFileException;
            if (archive == null && !gone) {
                throw failure;
            }
            String sentence = RekindleCommand.sentence(failure);
            if (archive != null) {
                sentence = sentence.replace(folder + "/", path + ": ").replace(folder.toString(), path.toString());
            }
            // What is gone was there when the image was opened.
            throw new CommandException(gone ? ErrorCode.CORRUPT_IMAGE : ExitStatus.code(failure), sentence);
        }
    }

    /** What may fail. */
    interface Action<T> {
        T run() throws IOException;
    }

    CheckpointImage image() throws IOException {
        return named(() -> CheckpointImage.open(folder));
    }

    /** All of them, the largest first. */
    List<ImageView.File> files() throws IOException {
        Stream<ImageView.File> all;
        if (archive == null) {
            try (Stream<Path> listed = Files.list(folder)) {
                all = listed
                        .filter(Files::isRegularFile)
                        .map(file -> new ImageView.File(
                                String.valueOf(file.getFileName()),
                                file.toFile().length()))
                        .toList()
                        .stream();
            }
        } else {
            all = archive.files().stream();
        }
        return all.sorted(Comparator.comparingLong(ImageView.File::bytes)
                        .reversed()
                        .thenComparing(ImageView.File::name))
                .toList();
    }

    /** What a restore reads from the disk first of all. */
    Path largestFile() throws IOException {
        List<ImageView.File> files = files();
        return archive != null || files.isEmpty()
                ? path
                : folder.resolve(files.getFirst().name());
    }

    @Override
    public void close() throws IOException {
        if (archive != null) {
            archive.close();
        }
    }
}
