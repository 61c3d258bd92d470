// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.IOException;
import java.nio.file.DirectoryNotEmptyException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/** What a checkpoint and the runs on it leave in a folder of images, and nothing else. */
final class ImageFolder {
    /** Beside the files that the manifest lists: of CRIU, of the pool, of a swap. */
    private static final List<String> RECORDS = List.of(
            "dump.log",
            "restore.log",
            "stats-dump",
            "stats-restore",
            "stats-rekindle.json",
            "rekindle.progress",
            "rekindled.log",
            ServicePid.FILE);

    private ImageFolder() {}

    /**
     * Removes a checkpoint that has a manifest, and the folder where nothing else is in it. The manifest goes last: what is
     * left where this is ended in the middle is no whole checkpoint, and is known as none.
     *
     * @param logs names of further logs of runs on it
     */
    static void remove(Path folder, Set<String> logs) throws IOException {
        var names = new LinkedHashSet<>(CriuImages.manifest(folder));
        names.addAll(RECORDS);
        names.addAll(logs);
        names.add(CriuImages.MANIFEST);
        for (String name : names) {
            Path file = folder.resolve(name);
            if (Files.isRegularFile(file, LinkOption.NOFOLLOW_LINKS)) {
                Files.delete(file);
            }
        }
        try {
            Files.delete(folder);
        } catch (DirectoryNotEmptyException others) {
            // They are somebody else's.
            return;
        }
    }
}
