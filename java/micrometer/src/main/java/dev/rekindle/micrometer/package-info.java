// SPDX-License-Identifier: MIT

/**
 * Metrics of checkpoints and restores for Micrometer. Nothing here accepts or returns null; what is given it all the same
 * throws {@link NullPointerException}.
 */
@NullMarked
package dev.rekindle.micrometer;

import org.jspecify.annotations.NullMarked;
