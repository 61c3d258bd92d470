// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.CheckpointRequest;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** Whose data a dump may link. */
final class ParentOption {
    private static final String NONE = "none";

    @Option(
            names = "--parent",
            paramLabel = "DIR",
            description =
                    "Another folder, on the same file system, in which the image may lie that the process was restored from"
                            + " or dumped into before: what has not changed is linked, not written again. none: write all"
                            + " of it. Default: REKINDLE_PARENT, and the folder of the dump in any case but none.")
    private @Nullable Path parent;

    void apply(CheckpointRequest.Builder request) {
        if (parent != null && parent.equals(Path.of(NONE))) {
            request.whole();
        } else if (parent != null) {
            request.parent(parent);
        }
    }
}
