// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The way to a lease is the one that a server takes for each request: it leaves next to no garbage. */
class LeaseAllocationTest {
    @TempDir
    private Path folder;

    @Test
    void acquiringAndClosingAllocatesLittleMoreThanTheLease() {
        var threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        int calls = 10_000;
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                WarmPool pool = rekindle.openPool()) {
            // The first rounds are the interpreter's; a busy machine compiles late.
            long least = Long.MAX_VALUE;
            for (int round = 0; round < 10; round++) {
                long before = threads.getCurrentThreadAllocatedBytes();
                for (int i = 0; i < calls; i++) {
                    pool.acquire(0).close();
                }
                least = Math.min(least, threads.getCurrentThreadAllocatedBytes() - before);
            }
            // Measured: 40, which is the lease.
            assertThat((double) least / calls).as("bytes for each call").isLessThan(100);
        }
    }
}
