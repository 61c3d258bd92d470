// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** What a run tells, without any run of CRIU. */
class RunTest {
    private final ExecutorService executor = Executors.newSingleThreadExecutor();
    private final CountDownLatch begun = new CountDownLatch(1);
    private final CountDownLatch released = new CountDownLatch(1);
    private final LatestProgress progress = new LatestProgress(null);
    private final NativeOperation operation = new NativeOperation(progress, Failure.Action.CHECKPOINT);

    @AfterEach
    void shutDown() {
        released.countDown();
        executor.close();
        operation.close();
    }

    @Test
    void executorThatTakesNoMoreIsHeard() {
        executor.shutdown();
        assertThatThrownBy(() -> start(this::late)).isInstanceOf(RejectedExecutionException.class);
        assertThat(operation.end()).isDone();
    }

    @Test
    void resultOfACancelledRunIsWhatCameOfIt() throws Exception {
        Run<String> run = start(this::late);
        assertThat(begun.await(30, TimeUnit.SECONDS)).isTrue();
        run.cancel();
        assertThat(operation.isCancelled()).isTrue();
        assertThat(run.result()).isNotDone();
        assertThat(run.ended()).isNotDone();
        assertThat(run).hasToString("Run[Progress[phase=NONE, bytesDone=0, bytesTotal=0]]");
        released.countDown();
        assertThat(run.await()).isEqualTo("late");
        assertThat(run).hasToString("Run[ended]");
        run.cancel();
        assertThat(run.await()).isEqualTo("late");
    }

    /** Its executor may be busy, or be shut down with what it was given. */
    @Test
    void runThatHasNotBegunIsCancelledAtOnce() throws Exception {
        executor.execute(() -> late(operation));
        List<String> order = Collections.synchronizedList(new ArrayList<>());
        Run<String> run = start(watched -> {
            order.add("began");
            return "result";
        });
        CompletableFuture<?> ended = run.ended().thenRun(() -> order.add("ended"));
        run.cancel();
        assertThatThrownBy(run::await)
                .isInstanceOfSatisfying(
                        RestoreException.class,
                        failure -> assertThat(failure.code()).isEqualTo(ErrorCode.CANCELLED))
                .hasMessageContaining("before it began");
        assertThat(ended).isDone();
        assertThat(operation.end()).isDone();
        released.countDown();
        executor.submit(() -> order.add("next")).get(30, TimeUnit.SECONDS);
        assertThat(order).containsExactly("ended", "next");
    }

    /** A stage that waits for the end of the run, on the run's own thread. */
    @Test
    void runHasEndedWhenItsResultIsThere() throws Exception {
        Run<String> run = start(this::late);
        CompletableFuture<String> stage = run.result().thenApply(result -> {
            run.ended().join();
            return result + " taken";
        });
        released.countDown();
        assertThat(stage.get(30, TimeUnit.SECONDS)).isEqualTo("late taken");
    }

    @Test
    void failureEndsTheRunToo() {
        var failure = new IllegalArgumentException("it failed");
        Run<String> run = start(watched -> {
            throw failure;
        });
        assertThat(run.ended()).succeedsWithin(30, TimeUnit.SECONDS);
        assertThatThrownBy(run::await).isSameAs(failure);
    }

    @Test
    void whoeverCompletesAFutureOfItDoesNotEndTheRun() throws Exception {
        Run<String> run = start(this::late);
        assertThat(run.ended().complete(null)).isTrue();
        assertThat(run.result().cancel(true)).isTrue();
        assertThat(run.ended()).isNotDone();
        released.countDown();
        assertThat(run.await()).isEqualTo("late");
    }

    @Test
    void progressIsWhatWasReportedLast() throws Exception {
        Run<String> run = start(this::late);
        assertThat(run.progress()).isEqualTo(new Progress(PhaseKind.NONE, 0, 0));
        progress.onProgress(1, 2, PhaseKind.COPY_OUT);
        progress.onProgress(2, 3, PhaseKind.VERIFY);
        assertThat(run.progress()).isEqualTo(new Progress(PhaseKind.VERIFY, 2, 3));
        released.countDown();
        run.await();
        assertThat(run.progress()).isEqualTo(new Progress(PhaseKind.VERIFY, 2, 3));
    }

    private Run<String> start(Function<NativeOperation, String> body) {
        return NativeRun.start(executor, operation, progress, Failure.Action.RESTORE, body);
    }

    /** Goes on until it is released. */
    private String late(NativeOperation watched) {
        begun.countDown();
        try {
            released.await();
        } catch (InterruptedException interrupt) {
            throw new IllegalStateException(interrupt);
        }
        return "late";
    }
}
