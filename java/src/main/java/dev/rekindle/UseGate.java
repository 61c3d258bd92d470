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

    /** Returns true to the one caller that is to free the handle, once nobody uses it any more. */
    boolean closeAndWait() {
        closer = Thread.currentThread();
        if ((users.getAndAccumulate(CLOSED, (now, mark) -> now | mark) & CLOSED) != 0) {
            return false;
        }
        while (users.get() != CLOSED) {
            LockSupport.parkNanos(this, 1_000_000);
        }
        return true;
    }
}
