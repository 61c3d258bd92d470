// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * A run on another thread, made by {@link Rekindle#checkpointAsync} and {@link Rekindle#restoreAsync}. It may be watched,
 * waited for and cancelled by any threads. No future of it completes before the run is over: what {@link #result} says is so,
 * also after {@link #cancel}.
 *
 * @param <T> what the run gives
 */
public interface Run<T> {
    /**
     * Returns a future of the result. It completes when the run is over, exceptionally with what the call on the caller's
     * thread throws; after {@link #cancel} that is a {@link RekindleException} of {@link ErrorCode#CANCELLED}.
     *
     * @return the future; completing or cancelling it does nothing to the run
     */
    CompletableFuture<T> result();

    /**
     * Waits for the result.
     *
     * @return the result
     * @throws RekindleException where it failed or was cancelled; in general, whatever the call on the caller's thread throws
     * @throws InterruptedException where the thread was interrupted while it waited; the run goes on
     */
    T await() throws InterruptedException;

    /**
     * Says how far the run has come.
     *
     * @return what it reported last
     */
    Progress progress();

    /**
     * Asks the run to end, and returns at once. It takes a moment to take back what it has begun: a tree that is being dumped
     * goes on running, and of one that is being restored nothing is left, also where it was restored before the run heard of
     * it. A dump that is complete by then is a success, and keeps its images. A run that has not begun yet, as its executor
     * has had no thread for it, ends at once. Cancelling twice, or one that is over, or of which observers are being told that it
     * is, does nothing.
     */
    void cancel();

    /**
     * Returns a future that completes, always normally, when nothing of the run goes on any more: it has succeeded or
     * failed, or what a cancelled one had begun is taken back, and the same can be tried again. {@link #result} completes right
     * after it.
     *
     * @return the future; completing or cancelling it does nothing to the run
     */
    CompletableFuture<@Nullable Void> ended();
}
