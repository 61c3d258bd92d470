// SPDX-License-Identifier: MIT
/**
 * Fast checkpoint and restore of GPU processes with CRIU.
 *
 * <p>{@link dev.rekindle.Rekindle} checkpoints and restores process trees, {@link dev.rekindle.WarmPool} keeps GPU
 * contexts and copy buffers warm between restores, and {@link dev.rekindle.CheckpointImage} says what a folder holds.
 * Sizes are bytes. No method takes or returns {@code null} unless it says so; one that is given it all the same throws
 * {@link NullPointerException}.
 *
 * <p><b>Threads.</b> The handles {@link dev.rekindle.Rekindle}, {@link dev.rekindle.WarmPool} and
 * {@link dev.rekindle.ContextLease} may be used by any threads at once. Requests, results, statistics, images, enums
 * and exceptions are immutable, so any threads may use them. A builder is for one thread at a time. Hooks and listeners
 * are called on the thread that runs the call.
 *
 * <p><b>Memory.</b> The memory that native code sees during a call is a buffer out of a small set that is reused. Only
 * where all are in use, or a call needs more than one holds (more than 64 GPU processes, long arguments), is native
 * memory allocated; the garbage collector frees it.
 */
@NullMarked
package dev.rekindle;

import org.jspecify.annotations.NullMarked;
