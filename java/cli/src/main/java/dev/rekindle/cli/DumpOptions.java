// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.CheckpointRequest;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** What commands that dump, or say whether a dump would do, have beside {@link TreeOptions}. */
final class DumpOptions {
    private static final String GHOST_LIMIT = "--ghost-limit";
    private static final String OF_PRESET = "1G";

    @Option(
            names = GHOST_LIMIT,
            paramLabel = "SIZE",
            description = "Up to which size the contents of deleted files go into the images (K, M, G).")
    private @Nullable String ghostLimit;

    /** To be called before those of the tree are applied: of several, criu takes the last one. */
    void apply(TreeOptions tree, CheckpointRequest.Builder request) {
        ghostLimit(tree).ifPresent(limit -> request.argument(GHOST_LIMIT).argument(limit));
    }

    /** An argument for criu itself goes first: nothing of a preset's then. */
    Optional<String> ghostLimit(TreeOptions tree) {
        boolean preset = tree.preset().isPresent()
                && tree.arguments().stream().noneMatch(argument -> argument.startsWith(GHOST_LIMIT));
        return Optional.ofNullable(ghostLimit == null && preset ? OF_PRESET : ghostLimit);
    }

    /** What the preset sets, as a line for the user. */
    void note(TreeOptions tree, Output output) {
        tree.preset()
                .ifPresent(preset -> output.note(TreeOptions.INFERENCE
                        + ghostLimit(tree)
                                .map(limit -> " " + GHOST_LIMIT + " " + limit)
                                .orElse("")));
    }
}
