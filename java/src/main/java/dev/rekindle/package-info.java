// SPDX-License-Identifier: MIT
/**
 * Fast checkpoint and restore of GPU processes with CRIU.
 *
 * <p>{@link dev.rekindle.Rekindle} checkpoints and restores process trees, {@link dev.rekindle.WarmPool} keeps GPU
 * contexts and copy buffers warm between restores, and {@link dev.rekindle.CheckpointImage} says what a folder holds.
 * Sizes are bytes. No method takes or returns {@code null} unless it says so.
 *
 * <p><b>Memory.</b> All memory that native code sees during a call comes from a small set of reusable buffers, so a call
 * allocates no native memory and opens no arena.
 */
@NullMarked
package dev.rekindle;

import org.jspecify.annotations.NullMarked;
