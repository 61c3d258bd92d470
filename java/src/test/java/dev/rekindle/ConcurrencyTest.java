// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Closing beside whatever else goes on, and what is left afterwards. */
class ConcurrencyTest {
    /** More would wait for a core on a small machine, and not close at the same moment. */
    private static final int THREADS = 2;

    @TempDir
    private Path folder;

    /** The native library refuses a lease that is given back a second time. */
    @Test
    void severalThreadsCloseOneLease() throws Exception {
        int rounds = 20_000;
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                WarmPool pool = rekindle.openPool();
                ContextLease other = pool.acquire(0)) {
            assertThat(other.device()).isZero();
            var lease = new AtomicReference<>(pool.acquire(0));
            var arrived = new AtomicInteger();
            var refusals = new ConcurrentLinkedQueue<RekindleException>();
            var threads = new ArrayList<CompletableFuture<Void>>();
            for (int i = 0; i < THREADS; i++) {
                boolean first = i == 0;
                threads.add(onThread(() -> {
                    for (int round = 0; round < rounds; round++) {
                        meet(arrived);
                        try {
                            Objects.requireNonNull(lease.get()).close();
                        } catch (RekindleException refusal) {
                            refusals.add(refusal);
                        }
                        meet(arrived);
                        if (first) {
                            lease.set(pool.acquire(0));
                        }
                        meet(arrived);
                    }
                }));
            }
            join(threads);
            assertThat(refusals).isEmpty();
            assertThat(pool.statistics().leases()).isEqualTo(2);
        }
    }

    /** Spins, since threads that are woken are not awake at the same moment. */
    private static void meet(AtomicInteger arrived) {
        int everybody = (arrived.getAndIncrement() / THREADS + 1) * THREADS;
        while (arrived.get() < everybody) {
            Thread.onSpinWait();
        }
    }

    @Test
    void handleClosedWhileRunsGoOn() throws Exception {
        try (Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            Rekindle asynchronous = TestMachine.rekindle(folder).build();
            Run<CheckpointResult> run =
                    asynchronous.checkpointAsync(CheckpointRequest.builder(worker.pid(), Path.of("first"))
                            .leaveRunning(true)
                            .progress((done, total, phase) -> asynchronous.close())
                            .build());
            assertThat(run.result().get(60, TimeUnit.SECONDS).statistics().succeeded())
                    .isTrue();
            Worker.await(
                    "the handle's threads to end",
                    () -> Thread.getAllStackTraces().keySet().stream()
                            .noneMatch(thread -> thread.getName().startsWith("rekindle-")));

            Rekindle rekindle = TestMachine.rekindle(folder).build();
            CheckpointResult dumped = rekindle.checkpoint(CheckpointRequest.builder(worker.pid(), Path.of("images"))
                    .beforeCheckpoint(rekindle::close)
                    .build());
            assertThat(dumped.statistics().succeeded()).isTrue();
            assertThatThrownBy(() -> rekindle.restore(RestoreRequest.of(Path.of("images"))))
                    .isInstanceOf(IllegalStateException.class);
            worker.awaitEnd();
            try (Rekindle next = TestMachine.rekindle(folder).build()) {
                next.restore(RestoreRequest.of(Path.of("images")));
            }
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }

    /** One of them has the process; the others are told so, and it goes on whatever they have tried. */
    @Test
    void manyCheckpointsOfOneProcess() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            int refused = 0;
            for (int round = 0; round < 2; round++) {
                worker.inject("cuMemRelease=300ms"); // so that they meet
                var runs = new ArrayList<Run<CheckpointResult>>();
                for (int i = 0; i < 12; i++) {
                    runs.add(rekindle.checkpointAsync(CheckpointRequest.builder(worker.pid(), Path.of("images-" + i))
                            .leaveRunning(true)
                            .build()));
                }
                int succeeded = 0;
                for (var run : runs) {
                    try {
                        run.await();
                        succeeded++;
                    } catch (BusyException other) {
                        assertThat(other).hasMessageContaining("is in the hands of another run");
                        refused++;
                    }
                }
                assertThat(succeeded).isPositive();
                worker.inject();
                worker.advance();
                assertThat(worker.checksum()).isEqualTo(before);
            }
            assertThat(refused).as("else this shows nothing").isPositive();
        }
    }

    @Test
    void poolClosedWhileEverythingIsCalled() throws Exception {
        Path images = folder.resolve("images");
        Path file = Files.write(folder.resolve("data"), new byte[4 << 20]);
        try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
            try (Worker worker = Worker.start(folder, "worker")) {
                rekindle.checkpoint(CheckpointRequest.of(worker.pid(), images));
            }
            var measurement =
                    new CopyMeasurement(0, CopyMeasurement.Source.PAGE_CACHE, 1, 4 << 20, 4 << 20, Optional.of(file));
            for (int round = 0; round < 3; round++) {
                WarmPool pool = rekindle.openPool();
                var calls = List.<Action>of(
                        pool::statistics, () -> pool.acquire(0).close(), () -> pool.measure(measurement), () -> {
                            pool.prefetch(images);
                            pool.drop(images);
                        });
                var counts = calls.stream().map(call -> new AtomicInteger()).toList();
                var threads = new ArrayList<CompletableFuture<Void>>();
                for (int i = 0; i < calls.size(); i++) {
                    Action call = calls.get(i);
                    AtomicInteger count = counts.get(i);
                    threads.add(onThread(() -> assertThatThrownBy(() -> {
                                while (true) {
                                    call.run();
                                    count.incrementAndGet();
                                }
                            })
                            .isInstanceOf(IllegalStateException.class)
                            .hasMessageContaining("closed")));
                }
                Worker.await("calls", () -> counts.stream().allMatch(count -> count.get() > 3));
                threads.add(onThread(pool::close));
                pool.close();
                join(threads);
            }
        }
    }

    @Test
    void closedPoolsLeaveNoThreadsAndNoDescriptors() throws Exception {
        Path images = folder.resolve("images");
        Path elsewhere = Files.createDirectory(folder.resolve("elsewhere"));
        Process rekindled = PoolProcess.start(elsewhere);
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Rekindle connected = TestMachine.rekindle(elsewhere).build()) {
            try (Worker worker = Worker.start(folder, "worker")) {
                rekindle.checkpoint(CheckpointRequest.of(worker.pid(), images));
            }
            PoolProcess.connect(connected).close();
            usePools(rekindle, connected, images); // what stays for good is there from now on
            long threads = count("task");
            long descriptors = count("fd");
            for (int i = 0; i < 10; i++) {
                usePools(rekindle, connected, images);
            }
            // The JVM may have added a thread or a file of its own, but not ten.
            Worker.await("threads to end", () -> count("task") < threads + 5);
            Worker.await("descriptors to be closed", () -> count("fd") < descriptors + 5);
        } finally {
            rekindled.destroyForcibly();
        }
    }

    /** A lease and a prefetch are left open. */
    private static void usePools(Rekindle hosting, Rekindle connecting, Path images) {
        try (WarmPool hosted = hosting.openPool();
                WarmPool connected = connecting.connectPool()) {
            assertThat(hosted.acquire(0).context()).isNotZero();
            assertThat(connected.acquire(0).context()).isZero();
            hosted.prefetch(images);
        }
    }

    private static long count(String what) {
        try (Stream<Path> entries = Files.list(Path.of("/proc/self", what))) {
            return entries.count();
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    @FunctionalInterface
    private interface Action {
        void run() throws Exception;
    }

    private static CompletableFuture<Void> onThread(Action action) {
        var future = new CompletableFuture<Void>();
        Thread.ofPlatform().start(() -> {
            try {
                action.run();
                future.complete(null);
            } catch (Throwable failure) {
                future.completeExceptionally(failure);
            }
        });
        return future;
    }

    private static void join(List<CompletableFuture<Void>> threads) throws Exception {
        CompletableFuture.allOf(threads.toArray(CompletableFuture[]::new)).get(60, TimeUnit.SECONDS);
    }
}
