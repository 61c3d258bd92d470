// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.CheckpointRequest;
import java.util.Optional;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** What commands that dump, or say whether a dump would do, have beside {@link TreeOptions}. */
final class DumpOptions {
    private static final String GHOST_LIMIT = "--ghost-limit";
    private static final String OF_PRESET = "1G";
    private static final Pattern SIZE = Pattern.compile("\\d{1,15}[KMGkmg]?");

    @Option(
            names = GHOST_LIMIT,
            paramLabel = "SIZE",
            description = "Up to which size the contents of deleted files go into the images (K, M, G).")
    private @Nullable String ghostLimit;

    /** Before anything is done. Of CRIU's sizes K, M and G are upper case, or lower. */
    void validate() {
        if (ghostLimit != null && !SIZE.matcher(ghostLimit).matches()) {
            throw new IllegalArgumentException(
                    GHOST_LIMIT + " " + ghostLimit + " is no size: give a number, with K, M or G behind it");
        }
    }

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
        tree.note()
                .ifPresent(preset -> output.note(preset
                        + ghostLimit(tree)
                                .map(limit -> " " + GHOST_LIMIT + " " + limit)
                                .orElse("")));
    }
}
