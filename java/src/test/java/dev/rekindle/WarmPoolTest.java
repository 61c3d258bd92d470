// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Pools hosted in this JVM, and connections to {@code rekindled}. */
class WarmPoolTest {
    @TempDir
    private Path folder;

    @Test
    void leasesOfAHostedPoolAreContexts() {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                WarmPool pool = rekindle.openPool()) {
            assertThat(pool.isHosted()).isTrue();
            try (ContextLease lease = pool.acquire(0);
                    ContextLease second = pool.acquire(0)) {
                assertThat(lease.device()).isZero();
                assertThat(lease.context()).isNotZero().isEqualTo(second.context());
                assertThat(pool.statistics()).satisfies(statistics -> {
                    assertThat(statistics.leases()).isEqualTo(2);
                    assertThat(statistics.contexts()).isPositive();
                    assertThat(statistics.simulated()).isTrue();
                    assertThat(statistics.pid())
                            .isEqualTo(ProcessHandle.current().pid());
                    assertThat(statistics.uptime()).isPositive();
                });
                second.close();
                second.close();
                assertThatThrownBy(second::context)
                        .isInstanceOf(IllegalStateException.class)
                        .hasMessageContaining("closed");
                assertThat(lease.context()).isNotZero();
            }
            assertThat(pool.statistics().leases()).isZero();
            assertThatThrownBy(() -> pool.acquire(4711))
                    .isInstanceOf(RekindleException.class)
                    .hasMessageContaining("4711");
        }
    }

    @Test
    void everythingClosesInAnyOrder() {
        Rekindle rekindle = TestMachine.rekindle(folder).build();
        WarmPool pool = rekindle.openPool();
        ContextLease lease = pool.acquire(0);
        rekindle.close();
        assertThat(pool.statistics().leases()).isEqualTo(1);
        pool.close();
        pool.close();
        assertThatThrownBy(lease::context).isInstanceOf(IllegalStateException.class);
        lease.close();
        lease.close();
        assertThatThrownBy(() -> pool.acquire(0))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("closed");
        assertThatThrownBy(pool::statistics).isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(pool::images).isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(pool::gpus).isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(() -> pool.prefetch(folder)).isInstanceOf(IllegalStateException.class);
    }

    @Test
    void closingWhileOthersAcquire() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
            for (int round = 0; round < 5; round++) {
                WarmPool pool = rekindle.openPool();
                var begun = new AtomicInteger();
                var threads = new ArrayList<CompletableFuture<?>>();
                for (int i = 0; i < 4; i++) {
                    threads.add(CompletableFuture.runAsync(
                            () -> {
                                try {
                                    while (true) {
                                        pool.acquire(0).close();
                                        begun.incrementAndGet();
                                    }
                                } catch (IllegalStateException closed) {
                                    assertThat(closed).hasMessageContaining("closed");
                                }
                            },
                            task -> Thread.ofPlatform().start(task)));
                }
                Worker.await("leases", () -> begun.get() > 1000);
                pool.close();
                CompletableFuture.allOf(threads.toArray(CompletableFuture[]::new))
                        .get();
            }
        }
    }

    @Test
    void runsUseAHostedPoolAndPrefetchedImages() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                WarmPool pool = rekindle.openPool();
                Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            Path images = Path.of("images"); // in the folder of the handle, for pools as for requests
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), images));
            worker.awaitEnd();
            Prefetch dropped = pool.prefetch(images);
            pool.drop(images);
            assertThatThrownBy(dropped::remaining).isInstanceOf(NoImageException.class);
            Prefetch prefetch = pool.prefetch(images);
            assertThat(prefetch.await(Duration.ofSeconds(60))).isTrue();
            assertThat(prefetch.remaining()).isZero();
            assertThat(prefetch).hasToString("Prefetch[directory=images]");
            assertThat(pool.images()).singleElement().satisfies(resident -> {
                assertThat(resident.directory())
                        .contains(folder.resolve("images").toRealPath());
                assertThat(resident.bytes()).isEqualTo(resident.bytesFilled()).isEqualTo(24 << 20);
                assertThat(resident.age()).isBetween(Duration.ZERO, Duration.ofMinutes(10));
                assertThat(resident.count()).isEqualTo(1);
                assertThat(resident.state()).isEqualTo(ResidentImages.State.FILLED);
                assertThat(resident.taken()).isFalse();
            });
            awaitNoMoreThanImages(pool);
            assertThat(pool.gpus()).singleElement().satisfies(gpu -> {
                assertThat(gpu.bytesHeld()).isEqualTo(24 << 20);
                assertThat(gpu.warm()).isTrue();
                assertThat(gpu.model()).contains("SIMULATED");
                assertThat(gpu.uuid()).startsWith("GPU-");
                assertThat(gpu.freeBytes().orElseThrow()).isBetween(1L, gpu.memoryBytes());
            });
            long copied = pool.statistics().bytesToDevice();
            RestoredProcess restored = rekindle.restore(RestoreRequest.of(images));
            assertThat(pool.statistics().bytesToDevice())
                    .as("nothing is copied again")
                    .isEqualTo(copied);
            assertThatThrownBy(() -> prefetch.await(Duration.ofSeconds(60)))
                    .as("the restore has taken it")
                    .isInstanceOf(NoImageException.class);
            assertThat(restored.statistics().poolWarm()).isTrue();
            assertThat(worker.checksum()).isEqualTo(before);
            assertThat(pool.statistics()).satisfies(statistics -> {
                assertThat(statistics.restores()).isEqualTo(1);
                assertThat(statistics.imagesResident()).isEqualTo(1);
                assertThat(statistics.imagesRead()).isZero();
                assertThat(statistics.checkpoints()).isEqualTo(1);
                assertThat(statistics.bytesToDevice()).isPositive();
            });
            assertThatThrownBy(() -> pool.prefetch(folder.resolve("none"))).isInstanceOf(RekindleException.class);
            assertThatThrownBy(() -> pool.drop(Path.of("none")))
                    .isInstanceOf(RekindleException.class)
                    .hasMessageContaining(folder.resolve("none").toString());
        }
    }

    /** What a dump has held is let go of after its end. */
    private static void awaitNoMoreThanImages(WarmPool pool) {
        Worker.await("the pool to hold 24 MiB", () -> pool.statistics().deviceBytesHeld() == 24 << 20);
    }

    @Test
    void connectionToAPoolProcess() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
            assertThatThrownBy(rekindle::connectPool)
                    .isInstanceOfSatisfying(
                            PoolException.class,
                            failure -> assertThat(failure.code()).isEqualTo(ErrorCode.POOL_UNREACHABLE));
            Process rekindled = PoolProcess.start(folder);
            try (WarmPool pool = PoolProcess.connect(rekindle)) {
                assertThat(pool.isHosted()).isFalse();
                assertThat(pool.statistics().pid()).isEqualTo(rekindled.pid());
                try (ContextLease lease = pool.acquire(0)) {
                    assertThat(lease.context()).isZero();
                    assertThat(pool.statistics().leases()).isEqualTo(1);
                }
                try (Worker worker = Worker.start(folder, "worker")) {
                    rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
                }
                Prefetch prefetch = pool.prefetch(folder.resolve("images"));
                assertThat(prefetch.await(Duration.ofSeconds(60))).isTrue();
                awaitNoMoreThanImages(pool);
                assertThat(pool.images()).hasSize(1);
                assertThat(pool.gpus())
                        .singleElement()
                        .satisfies(gpu -> assertThat(gpu.bytesHeld()).isEqualTo(24 << 20));
                pool.drop(folder.resolve("images"));
                assertThat(pool.images()).isEmpty();
                rekindled.destroyForcibly().waitFor();
                assertThatThrownBy(pool::statistics)
                        .isInstanceOfSatisfying(
                                PoolException.class,
                                failure -> assertThat(failure.code()).isEqualTo(ErrorCode.POOL_DIED));
            } finally {
                rekindled.destroyForcibly();
            }
        }
    }

    @Test
    void copiesAreMeasured() throws Exception {
        Path file = folder.resolve("data");
        long bytes = 32 << 20;
        Files.write(file, new byte[(int) bytes]);
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                WarmPool pool = rekindle.openPool()) {
            for (CopyMeasurement.Source source : CopyMeasurement.Source.values()) {
                var measurement = new CopyMeasurement(
                        0,
                        source,
                        2,
                        4 << 20,
                        bytes,
                        source == CopyMeasurement.Source.PINNED ? Optional.empty() : Optional.of(file));
                assertThat(pool.measure(measurement)).isPositive();
            }
            var source = CopyMeasurement.Source.PAGE_CACHE;
            assertNotMeasured(pool, new CopyMeasurement(0, source, 0, 4 << 20, bytes, Optional.of(file)), "64 workers");
            assertNotMeasured(pool, new CopyMeasurement(0, source, 2, 1, bytes, Optional.of(file)), "A chunk has 2 to");
            assertNotMeasured(
                    pool, new CopyMeasurement(0, source, 2, 4 << 20, 0, Optional.of(file)), "nothing to copy");
            assertNotMeasured(
                    pool, new CopyMeasurement(0, source, 2, 4 << 20, bytes, Optional.empty()), "needs a file");
            try (WarmPool connected = rekindle.connectPool()) {
                assertNotMeasured(
                        connected,
                        new CopyMeasurement(0, source, 2, 4 << 20, bytes, Optional.of(file)),
                        "in this process");
            }
        }
    }

    /** Refused in words of this library, and not of the C one. */
    private static void assertNotMeasured(WarmPool pool, CopyMeasurement measurement, String words) {
        assertThatThrownBy(() -> pool.measure(measurement))
                .isInstanceOfSatisfying(
                        PoolException.class,
                        failure -> assertThat(failure.code()).isEqualTo(ErrorCode.INVALID_ARGUMENT))
                .hasMessageContaining(words)
                .message()
                .doesNotContain("_", "NULL");
    }
}
