// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.Rekindle;
import java.nio.file.Path;
import java.util.Optional;

/**
 * The parts of this release that others are to be told of.
 *
 * @param agent {@code librekindle-preload.so}
 * @param plugins the folder that CRIU is to load plugins from
 * @param patchedCriu the criu that belongs to the release, where it has one
 */
record Installation(Path agent, Path plugins, Optional<Path> patchedCriu) {
    static Installation find() {
        try (Rekindle rekindle = Rekindle.builder().build()) {
            return new Installation(
                    rekindle.agent(),
                    rekindle.pluginFolder(),
                    Optional.of(rekindle.criuProgram()).filter(Installation::isPatched));
        }
    }

    /** By where it is: installed, or built in a checkout. One of the distribution's is in no such folder. */
    static boolean isPatched(Path criu) {
        return criu.endsWith("rekindle/criu") || criu.endsWith("rekindle/criu/criu");
    }
}
