// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.time.Duration;

/**
 * Device memory that a pool fills from the GPU images in a folder, made by {@link WarmPool#prefetch}. Any threads may use it.
 * It holds nothing itself: {@link WarmPool#drop}, a restore, or the end of the pool ends it.
 */
public interface Prefetch {
    /**
     * Asks how much is still to come.
     *
     * @return how many bytes; 0 where all is there
     * @throws RekindleException where filling has failed, or the pool holds nothing for the folder any more: it was dropped, or
     *     a restore has taken it
     * @throws IllegalStateException where the pool is closed
     */
    long remaining();

    /**
     * Waits until all is there.
     *
     * @param limit how long it waits
     * @return whether all is there
     * @throws RekindleException where filling has failed, or the pool holds nothing for the folder any more: it was dropped, or
     *     a restore has taken it
     * @throws IllegalStateException where the pool is closed
     * @throws InterruptedException where the thread was interrupted while it waited; the pool goes on filling
     */
    boolean await(Duration limit) throws InterruptedException;
}
