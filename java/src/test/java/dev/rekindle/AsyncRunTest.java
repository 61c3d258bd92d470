// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Futures, cancelling and progress. */
class AsyncRunTest {
    private record Report(long done, long total, PhaseKind phase) {}

    @TempDir(factory = MemoryFolders.class)
    private Path folder;

    @Test
    void futuresCompleteWithResultsAndProgressIsReported() throws Exception {
        List<Report> reports = Collections.synchronizedList(new ArrayList<>());
        // One worker that takes a moment for each of many blocks: the copies last for many reports, also where the
        // driver's
        // other calls have to wait for it.
        Process pool = PoolProcess.start(
                folder,
                Map.of(
                        "CRIU_CUDA_STREAMS",
                        "1",
                        "REKINDLE_CHUNK_SIZE",
                        "2M",
                        "REKINDLE_SIMCUDA_DELAY",
                        "cuMemcpyDtoHAsync=100ms,cuMemcpyHtoDAsync=100ms"),
                List.of());
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            PoolProcess.connect(rekindle).close();
            String before = worker.checksum();
            CheckpointResult dumped = rekindle.checkpointAsync(
                            CheckpointRequest.builder(worker.pid(), Path.of("images"))
                                    .progress((done, total, phase) -> reports.add(new Report(done, total, phase)))
                                    .build())
                    .result()
                    .get(60, TimeUnit.SECONDS);
            assertThat(dumped.statistics().succeeded()).isTrue();
            long bytes = dumped.statistics().deviceBytes();
            assertCopyWasWatched(reports, PhaseKind.COPY_OUT, bytes);
            worker.awaitEnd();

            reports.clear();
            RestoredProcess restored = rekindle.restoreAsync(RestoreRequest.builder(Path.of("images"))
                            .progress((done, total, phase) -> reports.add(new Report(done, total, phase)))
                            .build())
                    .result()
                    .get(60, TimeUnit.SECONDS);
            assertThat(restored.pid()).isEqualTo(worker.pid());
            assertCopyWasWatched(reports, PhaseKind.PREFETCH, bytes);
            assertThat(worker.checksum()).isEqualTo(before);
        } finally {
            pool.destroyForcibly();
        }
    }

    /** The last report is made up from the result. Those from within the copy are not. */
    private static void assertCopyWasWatched(List<Report> reports, PhaseKind phase, long bytes) {
        assertThat(reports)
                .filteredOn(report -> report.phase() == phase && report.done() > 0 && report.done() < report.total())
                .extracting(Report::done)
                .hasSizeGreaterThan(2)
                .isSorted();
        assertThat(reports)
                .filteredOn(report -> report.phase() == phase && report.done() > 0)
                .extracting(Report::total)
                .containsOnly(bytes);
        assertThat(reports).extracting(Report::done).isSorted();
        assertThat(reports.getLast())
                .satisfies(
                        last -> assertThat(last.done()).isEqualTo(last.total()).isEqualTo(bytes));
    }

    @Test
    void runsAreOfTheCallersExecutorAndVirtualThreadsDo() throws Exception {
        try (var executor = Executors.newVirtualThreadPerTaskExecutor();
                Worker worker = Worker.start(folder, "worker", false, "--no-cuda")) {
            var threads = Collections.synchronizedSet(new HashSet<Boolean>());
            try (Rekindle rekindle =
                    TestMachine.rekindle(folder).executor(executor).build()) {
                rekindle.checkpointAsync(CheckpointRequest.builder(worker.pid(), Path.of("images"))
                                .leaveRunning(true)
                                .beforeCheckpoint(
                                        () -> threads.add(Thread.currentThread().isVirtual()))
                                .build())
                        .await();
            }
            assertThat(threads).containsExactly(true);
            assertThat(executor.isShutdown()).isFalse();
        }
    }

    /** The listener of the request itself ends nothing: the run has its own way to be cancelled. */
    @Test
    void restoreThatIsCancelledWhenItsProcessRunsAlreadyLeavesNone() throws Exception {
        var told = new CopyOnWriteArrayList<String>();
        RunObserver observer = start -> new RunObserver.Observation() {
            @Override
            public void end(long pid, RunStatistics statistics) {
                told.add(start.kind() + " ended");
            }

            @Override
            public void fail(RuntimeException failure) {
                told.add(start.kind() + " failed");
            }
        };
        try (Rekindle rekindle = TestMachine.rekindle(folder).observer(observer).build();
                Worker worker = Worker.start(folder, "worker")) {
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
            worker.awaitEnd();
            var run = new CompletableFuture<Run<RestoredProcess>>();
            run.complete(rekindle.restoreAsync(RestoreRequest.builder(Path.of("images"))
                    .progress((done, total, phase) -> {
                        if (phase == PhaseKind.CRIU && total > 0 && done == total) {
                            run.join().cancel();
                        }
                    })
                    .build()));
            assertThatThrownBy(run.join()::await)
                    .isInstanceOfSatisfying(
                            RestoreException.class,
                            failure -> assertThat(failure.code()).isEqualTo(ErrorCode.CANCELLED));
            assertThat(ProcessHandle.of(worker.pid()).filter(ProcessHandle::isAlive))
                    .isEmpty();
            assertThat(told).containsExactly("CHECKPOINT ended", "RESTORE failed");
        }
    }

    /** As by the end of the JVM, which waits for all runs that it has cancelled, and this one would never begin. */
    @Test
    void oneThatIsCancelledBeforeItsExecutorKnowsItEnds() {
        var progress = new LatestProgress(null);
        var operation = new NativeOperation(progress, Failure.Action.CHECKPOINT);
        operation.cancel();
        Run<String> run =
                NativeRun.start(task -> {}, operation, progress, Failure.Action.CHECKPOINT, own -> "it has begun");
        assertThat(run.ended()).isCompleted();
        assertThat(run.result()).isCompletedExceptionally();
    }

    @Test
    void failureCompletesTheFuture() {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
            assertThatThrownBy(() -> rekindle.restoreAsync(RestoreRequest.of(Path.of("none")))
                            .result()
                            .get(60, TimeUnit.SECONDS))
                    .isInstanceOf(ExecutionException.class)
                    .cause()
                    .isInstanceOfSatisfying(
                            NoImageException.class,
                            failure -> assertThat(failure.code()).isEqualTo(ErrorCode.NO_IMAGE));
        }
    }

    @Test
    void cancelledCheckpointLeavesTheProcessRunning() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            // Half a second for each release: the checkpoint is in the middle of it when it is cancelled.
            worker.inject("cuMemRelease=500ms");
            var begun = new CountDownLatch(1);
            Run<CheckpointResult> run =
                    rekindle.checkpointAsync(CheckpointRequest.builder(worker.pid(), Path.of("images"))
                            .timeout(java.time.Duration.ofSeconds(60))
                            .progress((done, total, phase) -> begun.countDown())
                            .build());
            assertThat(begun.await(30, TimeUnit.SECONDS)).isTrue();
            assertThat(run.progress()).isNotEqualTo(Progress.NONE);
            run.cancel();
            assertThat(run.ended()).isNotDone();
            assertThat(run.result()).isNotDone();
            worker.inject();
            run.ended().get(60, TimeUnit.SECONDS);
            assertThatThrownBy(run::await)
                    .isInstanceOfSatisfying(
                            CheckpointException.class,
                            failure -> assertThat(failure.code()).isEqualTo(ErrorCode.CANCELLED));
            // From now on, the same can be tried again.
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
            worker.awaitEnd();
            rekindle.restore(RestoreRequest.of(Path.of("images")));
            worker.advance();
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }

    @Test
    void cancelledRestoreStopsCriuAndLeavesNoProcess() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
            worker.awaitEnd();
            worker.inject("cuMemMap=500ms");
            var mapping = new CountDownLatch(1);
            Run<RestoredProcess> run = rekindle.restoreAsync(RestoreRequest.builder(Path.of("images"))
                    .progress((done, total, phase) -> {
                        if (phase == PhaseKind.MAP) {
                            mapping.countDown();
                        }
                    })
                    .build());
            assertThat(mapping.await(30, TimeUnit.SECONDS)).isTrue();
            run.cancel();
            run.ended().get(60, TimeUnit.SECONDS);
            assertThatThrownBy(run::await)
                    .isInstanceOfSatisfying(
                            RestoreException.class,
                            failure -> assertThat(failure.code()).isEqualTo(ErrorCode.CANCELLED));
            // A tree that CRIU had finished would have been ended too, but afterwards.
            assertThat(folder.resolve("images/restore.log"))
                    .isNotEmptyFile()
                    .content()
                    .doesNotContain("Restore finished");
            worker.inject();
            rekindle.restore(RestoreRequest.of(Path.of("images")));
            assertThat(worker.checksum()).as("the image is whole").isEqualTo(before);
            assertThat(folder.resolve("images/restore.log")).content().contains("Restore finished");
        }
    }

    @Test
    void listenerThatThrowsCancelsTheRunAndIsHeard() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            worker.inject("cuMemRelease=300ms");
            var request = CheckpointRequest.builder(worker.pid(), Path.of("images"))
                    .timeout(java.time.Duration.ofSeconds(60))
                    .progress((done, total, phase) -> {
                        throw new IllegalStateException("seen enough");
                    })
                    .build();
            assertThatThrownBy(() -> rekindle.checkpoint(request))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessage("seen enough")
                    .satisfies(failure -> assertThat(failure.getSuppressed())
                            .singleElement()
                            .isInstanceOfSatisfying(
                                    CheckpointException.class,
                                    cancelled -> assertThat(cancelled.code()).isEqualTo(ErrorCode.CANCELLED)));
            worker.inject();
            worker.advance();
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }

    /** The last report comes when the tree runs already. */
    @Test
    void listenerThatThrowsAtTheEndOfARestoreEndsWhatWasRestored() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
            worker.awaitEnd();
            var finished = new AtomicBoolean();
            var request = RestoreRequest.builder(Path.of("images"))
                    .progress((done, total, phase) -> {
                        if (phase == PhaseKind.CRIU && total > 0 && done == total) {
                            finished.set(Files.exists(Path.of("/proc/" + worker.pid())));
                            throw new IllegalStateException("not this one");
                        }
                    })
                    .build();
            assertThatThrownBy(() -> rekindle.restore(request))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessage("not this one")
                    .satisfies(failure -> assertThat(failure.getSuppressed())
                            .singleElement()
                            .satisfies(outcome -> assertThat(outcome).hasMessageContaining("was ended")));
            assertThat(finished).isTrue();
            assertThat(ProcessHandle.of(worker.pid()).filter(ProcessHandle::isAlive))
                    .isEmpty();
            rekindle.restore(RestoreRequest.of(Path.of("images")));
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }

    @Test
    void listenersAreForgottenWithTheirRuns() {
        assertThat(NativeOperation.watched()).isZero();
        try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
            for (int i = 0; i < 3; i++) {
                assertThatThrownBy(() -> rekindle.restore(RestoreRequest.builder(Path.of("none"))
                                .progress((done, total, phase) -> {})
                                .build()))
                        .isInstanceOf(NoImageException.class);
                Run<RestoredProcess> run = rekindle.restoreAsync(RestoreRequest.builder(Path.of("none"))
                        .progress((done, total, phase) -> {})
                        .build());
                assertThat(run.ended()).succeedsWithin(60, TimeUnit.SECONDS);
            }
        }
        assertThat(NativeOperation.watched()).isZero();
    }

    @Test
    void closingWaitsForRunsAsLongAsItIsTold() throws Exception {
        try (Worker worker = Worker.start(folder, "worker")) {
            Rekindle rekindle = TestMachine.rekindle(folder).build();
            worker.inject("cuMemRelease=200ms");
            var begun = new CountDownLatch(2);
            Run<CheckpointResult> run =
                    rekindle.checkpointAsync(CheckpointRequest.builder(worker.pid(), Path.of("images"))
                            .leaveRunning(true)
                            .timeout(java.time.Duration.ofSeconds(60))
                            .progress((done, total, phase) -> begun.countDown())
                            .build());
            assertThat(begun.await(30, TimeUnit.SECONDS)).isTrue();
            assertThat(rekindle.close(java.time.Duration.ofMillis(1))).isFalse();
            assertThat(run.ended()).isNotDone();
            assertThatThrownBy(() -> rekindle.restore(RestoreRequest.of(Path.of("images"))))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("closed");
            worker.inject();
            assertThat(rekindle.close(java.time.Duration.ofSeconds(60))).isTrue();
            assertThat(run.ended()).isDone();
            assertThat(run.await().statistics().succeeded()).isTrue();
            worker.advance();
        }
    }

    @Test
    void listenerThatThrowsErrorsDoesNotEndTheJvm() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            var request = CheckpointRequest.builder(worker.pid(), Path.of("images"))
                    .leaveRunning(true)
                    .progress((done, total, phase) -> {
                        throw new StackOverflowError("in an upcall");
                    })
                    .build();
            assertThatThrownBy(() -> rekindle.checkpoint(request)).isInstanceOf(StackOverflowError.class);
            worker.advance();
        }
    }
}
