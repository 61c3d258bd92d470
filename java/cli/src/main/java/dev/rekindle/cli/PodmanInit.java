// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * The program that {@code podman run --init} mounts into a container. Debian's is a symbolic link, and CRIU fails to
 * restore a mount whose source is one ("Can't remount ... with MS_PRIVATE"); so Podman is told what the link leads to.
 */
final class PodmanInit {
    static final String SECTION = "[containers]";

    private static final String NAME = "init_path";

    private final Path root;

    PodmanInit(Path root) {
        this.root = root;
    }

    /** Which is read after containers.conf. */
    Path file() {
        return root.resolve("etc/containers/containers.conf.d/rekindle.conf");
    }

    /** The lines that Podman needs; none where its init program is no link, or the user has named one. */
    List<String> lines() throws IOException {
        Path program = root.resolve("usr/libexec/podman/catatonit");
        if (!Files.isSymbolicLink(program)
                || !Files.exists(program)
                || isNamed(root.resolve("etc/containers/containers.conf"))) {
            return List.of();
        }
        Path real = Path.of("/").resolve(root.toRealPath().relativize(program.toRealPath()));
        return List.of(NAME + "=\"" + real + "\"");
    }

    /** Whether {@code --init} is good for a restore, as far as this can tell. */
    boolean isSettled() throws IOException {
        return lines().isEmpty() || isNamed(file());
    }

    private static boolean isNamed(Path file) throws IOException {
        return Files.exists(file)
                && Files.readAllLines(file, StandardCharsets.ISO_8859_1).stream()
                        .anyMatch(line -> line.strip().startsWith(NAME));
    }
}
