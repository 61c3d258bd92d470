// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/** The folder that relative folders are in; the JVM's own where there is none. */
record ImageRoot(@Nullable Path folder) {
    Path resolve(Path directory) {
        return (folder == null ? directory : folder.resolve(directory)).toAbsolutePath();
    }
}
