// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import dev.rekindle.internal.ffi.rekindle_pool_statistics;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.OptionalInt;
import org.junit.jupiter.api.Test;

class PoolStatisticsTest {
    /** Each field has a value of its own. */
    @Test
    void everyFieldIsItsOwn() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment status = arena.allocate(rekindle_pool_statistics.layout());
            rekindle_pool_statistics.restores(status, 1);
            rekindle_pool_statistics.checkpoints(status, 2);
            rekindle_pool_statistics.bytes_to_device(status, 3);
            rekindle_pool_statistics.bytes_from_device(status, 4);
            rekindle_pool_statistics.ring_bytes(status, 5);
            rekindle_pool_statistics.device_bytes_held(status, 6);
            rekindle_pool_statistics.started(status, System.nanoTime() - 7_000_000_000_000L);
            rekindle_pool_statistics.workers(status, 8);
            rekindle_pool_statistics.contexts(status, 9);
            rekindle_pool_statistics.leases(status, 10);
            rekindle_pool_statistics.runs(status, 11);
            rekindle_pool_statistics.simulated(status, 1);
            rekindle_pool_statistics.driver_version(status, 12);
            rekindle_pool_statistics.pid(status, 13);
            rekindle_pool_statistics.images_resident(status, 14);
            rekindle_pool_statistics.images_read(status, 15);
            rekindle_pool_statistics.images_pinned(status, 16);
            rekindle_pool_statistics.pinned_bytes(status, 17);
            rekindle_pool_statistics.moved_to_pinned(status, 18);
            rekindle_pool_statistics.given_up(status, 19);
            rekindle_pool_statistics.expired(status, 20);
            rekindle_pool_statistics.expired_bytes(status, 21);
            PoolStatistics statistics = PoolStatus.of(status);
            assertThat(statistics)
                    .isEqualTo(new PoolStatus(
                            13,
                            statistics.uptime(),
                            1,
                            2,
                            14,
                            16,
                            15,
                            3,
                            4,
                            5,
                            6,
                            17,
                            18,
                            19,
                            20,
                            21,
                            8,
                            9,
                            10,
                            11,
                            true,
                            OptionalInt.of(12)));
            assertThat(statistics.uptime()).isBetween(Duration.ofSeconds(7_000), Duration.ofSeconds(8_000));
            rekindle_pool_statistics.simulated(status, 0);
            assertThat(PoolStatus.of(status).simulated()).isFalse();
        }
    }
}
