// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The links that CRIU made for files which were deleted while open ({@code --link-remap}), of the checkpoint that a folder
 * holds. CRIU numbers them by process, and a second dump fails where one stands already. They are moved aside for the time
 * of a dump: the earlier checkpoint needs them where that fails, and nobody does where it succeeds. Others are left alone.
 */
final class LinkRemaps implements AutoCloseable {
    private static final Pattern NAME = Pattern.compile("link_remap\\.\\d+");
    private static final String ASIDE = ".rekindle-aside";

    private final Deque<Path> moved = new ArrayDeque<>();
    private final List<Path> removed = new ArrayList<>();

    private LinkRemaps() {}

    static LinkRemaps none() {
        return new LinkRemaps();
    }

    /** Those of the checkpoint in a folder that exist, under the name that they have now. */
    static List<Path> of(Path folder) throws IOException {
        var list = new ArrayList<Path>();
        for (Path link : named(folder)) {
            if (exists(link)) {
                list.add(link);
            } else if (exists(aside(link))) {
                list.add(aside(link));
            }
        }
        return list;
    }

    /** Puts back what a dump that was killed in the middle has left aside: the checkpoint in the folder needs it. */
    static void putBack(Path folder) throws IOException {
        for (Path link : named(folder)) {
            if (Files.notExists(link, LinkOption.NOFOLLOW_LINKS) && exists(aside(link))) {
                Files.move(aside(link), link);
            }
        }
    }

    /** Where one cannot be moved, those before it are put back. */
    static LinkRemaps setAside(Path folder) throws IOException {
        putBack(folder);
        var remaps = new LinkRemaps();
        try {
            for (Path link : of(folder)) {
                Files.move(link, aside(link));
                remaps.moved.push(link);
            }
            return remaps;
        } catch (IOException failure) {
            try {
                remaps.close();
            } catch (IOException another) {
                failure.addSuppressed(another);
            }
            throw failure;
        }
    }

    private static List<Path> named(Path folder) throws IOException {
        var list = new ArrayList<Path>();
        for (String name : CriuImages.fileNames(folder)) {
            Path link = Path.of("/").resolve(name);
            Path last = link.getFileName();
            if (last != null && NAME.matcher(last.toString()).matches() && !list.contains(link)) {
                list.add(link);
            }
        }
        return list;
    }

    private static boolean exists(Path link) {
        return Files.isRegularFile(link, LinkOption.NOFOLLOW_LINKS);
    }

    private static Path aside(Path link) {
        return link.resolveSibling(link.getFileName() + ASIDE);
    }

    /**
     * The checkpoint that needed them has been replaced. None is put back from now on, as the new one may have a link of the
     * same name. Returns a sentence for each that is still there.
     */
    List<String> remove() {
        var problems = new ArrayList<String>();
        while (!moved.isEmpty()) {
            Path link = moved.pop();
            try {
                Files.deleteIfExists(aside(link));
                removed.add(link);
            } catch (IOException failure) {
                problems.add("%s, which nothing needs any more, could not be removed (%s): remove it"
                        .formatted(aside(link), RekindleCommand.sentence(failure)));
            }
        }
        return problems;
    }

    /** Those that were removed. */
    List<Path> files() {
        return List.copyOf(removed);
    }

    /** Puts back what was not removed, as much of it as can be. */
    @Override
    public void close() throws IOException {
        @Nullable IOException first = null;
        while (!moved.isEmpty()) {
            Path link = moved.pop();
            try {
                Files.move(aside(link), link);
            } catch (IOException failure) {
                if (first == null) {
                    first = failure;
                } else {
                    first.addSuppressed(failure);
                }
            }
        }
        if (first != null) {
            throw first;
        }
    }
}
