// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.RepeatedTest;
import org.junit.jupiter.api.Test;

class UseGateTest {
    @Test
    void closingWaitsForUsersAndHappensOnce() throws Exception {
        var gate = new UseGate("shut");
        gate.enter();
        CompletableFuture<Boolean> closed = CompletableFuture.supplyAsync(gate::closeAndWait);
        while (gate.tryEnter()) {
            gate.exit();
            Thread.onSpinWait();
        }
        assertThat(closed).isNotDone();
        gate.exit();
        assertThat(closed.get(120, TimeUnit.SECONDS)).isTrue();
        assertThat(gate.closeAndWait()).isFalse();
        assertThatThrownBy(gate::enter)
                .isInstanceOf(IllegalStateException.class)
                .hasMessage("shut");
    }

    /** It waits all the same, without a turn of a loop meanwhile, and has its interrupt afterwards. */
    @Test
    void interruptedCloserSleepsUntilUsersHaveLeft() throws Exception {
        var gate = new UseGate("shut");
        gate.enter();
        var interruptedAfter = new AtomicBoolean();
        Thread closer = Thread.ofPlatform().start(() -> {
            Thread.currentThread().interrupt();
            gate.closeAndWait();
            interruptedAfter.set(Thread.currentThread().isInterrupted());
        });
        try {
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
            while (closer.getState() != Thread.State.WAITING) {
                assertThat(System.nanoTime()).as(closer.getState().toString()).isLessThan(end);
                Thread.sleep(1);
            }
            closer.interrupt(); // once more, in the middle
        } finally {
            gate.exit();
        }
        closer.join();
        assertThat(interruptedAfter).isTrue();
    }

    /** A second one must not take the wait from the first. */
    @RepeatedTest(50)
    void firstOfTwoClosersIsWoken() throws Exception {
        var gate = new UseGate("shut");
        gate.enter();
        CompletableFuture<Boolean> first = CompletableFuture.supplyAsync(gate::closeAndWait);
        while (!gate.isClosed()) {
            Thread.onSpinWait();
        }
        assertThat(gate.closeAndWait()).isFalse();
        gate.exit();
        assertThat(first.get(120, TimeUnit.SECONDS)).isTrue();
    }

    @RepeatedTest(50)
    void nobodyIsInsideOnceItIsClosed() throws Exception {
        var gate = new UseGate("shut");
        var freed = new AtomicBoolean();
        var usedAfterFree = new AtomicInteger();
        var started = new AtomicInteger();
        var users = new CompletableFuture<?>[4];
        for (int i = 0; i < users.length; i++) {
            users[i] = CompletableFuture.runAsync(
                    () -> {
                        started.incrementAndGet();
                        while (gate.tryEnter()) {
                            if (freed.get()) {
                                usedAfterFree.incrementAndGet();
                            }
                            gate.exit();
                        }
                    },
                    task -> Thread.ofPlatform().start(task));
        }
        while (started.get() < users.length) {
            Thread.onSpinWait();
        }
        assertThat(gate.closeAndWait()).isTrue();
        freed.set(true);
        CompletableFuture.allOf(users).get(120, TimeUnit.SECONDS);
        assertThat(usedAfterFree).hasValue(0);
    }
}
