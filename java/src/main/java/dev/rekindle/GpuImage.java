// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.List;
import java.util.Objects;

/**
 * What the GPU image of a process stores; zero chunks are not stored. Immutable, so any threads may use it. Sizes are bytes.
 *
 * @param bytes all of it
 * @param linkedBytes of it, what lies in data files that were written for older images of the process
 * @param deadBytes what those files hold beside that, which nobody needs here
 * @param linkedTo ids of the images that they were written for
 */
public record GpuImage(long bytes, long linkedBytes, long deadBytes, List<String> linkedTo) {
    /**
     * Copies the list, and checks that nothing is null.
     *
     * @param bytes all of it
     * @param linkedBytes of it, what lies in data files that were written for older images of the process
     * @param deadBytes what those files hold beside that, which nobody needs here
     * @param linkedTo ids of the images that they were written for
     */
    public GpuImage {
        linkedTo = List.copyOf(Objects.requireNonNull(linkedTo, "linkedTo"));
    }
}
