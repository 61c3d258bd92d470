// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * Keeps a native handle alive while calls use it: closing shuts the gate, then waits until everybody has left. Entering
 * and leaving is one atomic instruction each.
 */
final class UseGate {
    private static final int CLOSED = Integer.MIN_VALUE;

    private final AtomicInteger users = new AtomicInteger();
    private final String closedMessage;
    private volatile @Nullable Thread closer;

    UseGate(String closedMessage) {
        this.closedMessage = closedMessage;
    }

    void enter() {
        if (!tryEnter()) {
            throw new IllegalStateException(closedMessage);
        }
    }

    /** Adding below the closed mark keeps it, so a late comer only has to leave again. */
    boolean tryEnter() {
        if (users.incrementAndGet() > 0) {
            return true;
        }
        exit();
        return false;
    }

    boolean isClosed() {
        return users.get() < 0;
    }

    void exit() {
        if (users.decrementAndGet() == CLOSED) {
            Thread waiting = closer;
            if (waiting != null) {
                LockSupport.unpark(waiting);
            }
        }
    }

    /**
     * Returns true to the one caller that is to free the handle, once nobody uses it any more. An interrupt does not end the
     * wait, as the handle cannot be freed before; the thread has it again afterwards.
     */
    boolean closeAndWait() {
        if ((users.getAndAccumulate(CLOSED, (now, mark) -> now | mark) & CLOSED) != 0) {
            return false;
        }
        closer = Thread.currentThread(); // who left before has been seen below, and who leaves later sees this
        boolean interrupted = false;
        while (users.get() != CLOSED) {
            LockSupport.park(this);
            interrupted |= Thread.interrupted(); // or it would not wait any more
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
        return true;
    }
}
