// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.AppenderBase;
import java.lang.reflect.Proxy;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.slf4j.LoggerFactory;

/** Who is told of runs. */
class RunObserverTest {
    @TempDir
    private Path folder;

    /** What one run told, in its order. */
    private static final class Told implements RunObserver {
        final List<Object> all = new ArrayList<>();

        @Override
        public Observation begin(RunStart run) {
            all.add(run);
            return new Observation() {
                @Override
                public void phase(long pid, Phase phase) {
                    all.add(pid + " " + phase.kind());
                }

                @Override
                public void end(long pid, RunStatistics statistics) {
                    all.add("end " + pid);
                }

                @Override
                public void fail(RuntimeException failure) {
                    all.add(failure);
                }
            };
        }
    }

    @Test
    void beginPhasesAndEndAreToldInTheirOrder() throws Exception {
        var told = new Told();
        Path images = folder.resolve("images");
        try (Rekindle rekindle = TestMachine.rekindle(folder).observer(told).build();
                Worker worker = Worker.start(folder, "worker")) {
            long pid = worker.pid();
            rekindle.checkpoint(CheckpointRequest.of(pid, Path.of("images")));
            worker.awaitEnd();
            assertThat(told.all)
                    .startsWith(new RunStart(RunKind.CHECKPOINT, images, OptionalLong.of(pid)))
                    .contains(pid + " COPY_OUT")
                    .endsWith("end " + pid);
            told.all.clear();
            rekindle.restore(RestoreRequest.of(images));
            assertThat(told.all)
                    .startsWith(new RunStart(RunKind.RESTORE, images, OptionalLong.empty()))
                    .contains(pid + " PREFETCH")
                    .endsWith("end " + pid);
        }
    }

    @Test
    void aFailureIsToldAsTheCallThrowsIt() {
        var told = new Told();
        try (Rekindle rekindle = TestMachine.rekindle(folder).observer(told).build()) {
            Throwable thrown = catchThrowable(() -> rekindle.restore(RestoreRequest.of(folder.resolve("nothing"))));
            assertThat(thrown).isInstanceOf(NoImageException.class);
            assertThat(told.all).last().isSameAs(thrown);
        }
    }

    /** As of a broken class path in the middle of a run: a path whose class is not whole stands for it. */
    @Test
    void anErrorIsToldAsAFailureAndThrown() {
        var told = new Told();
        Path broken =
                (Path) Proxy.newProxyInstance(Path.class.getClassLoader(), new Class<?>[] {Path.class}, (_, _, _) -> {
                    throw new NoClassDefFoundError("dev/rekindle/Missing");
                });
        try (Rekindle rekindle = Rekindle.builder()
                .criu(TestMachine.criu())
                .cudaDriver(TestMachine.SIMULATED_DRIVER)
                .observer(told)
                .build()) {
            CheckpointRequest dump = CheckpointRequest.builder(4194305, folder)
                    .workDirectory(broken)
                    .build();
            Throwable thrown = catchThrowable(() -> rekindle.checkpoint(dump));
            assertThat(thrown).isInstanceOf(NoClassDefFoundError.class);
            assertThat(told.all)
                    .hasSize(2)
                    .last()
                    .satisfies(failure -> assertThat((Throwable) failure)
                            .isInstanceOf(IllegalStateException.class)
                            .hasMessageContaining("dev/rekindle/Missing")
                            .hasCause(thrown));
            told.all.clear();
            RestoreRequest restore =
                    RestoreRequest.builder(folder).workDirectory(broken).build();
            Throwable another = catchThrowable(() -> rekindle.restore(restore));
            assertThat(another).isInstanceOf(NoClassDefFoundError.class);
            assertThat(told.all)
                    .hasSize(2)
                    .last()
                    .satisfies(failure -> assertThat((Throwable) failure).hasCause(another));
        }
    }

    /** Errors, and what another language throws undeclared, lose no process either. */
    @Test
    void oneThatThrowsChangesNothing() throws Exception {
        var told = new Told();
        try (Rekindle rekindle = TestMachine.rekindle(folder)
                        .observer(run -> {
                            throw new ArithmeticException("at the beginning");
                        })
                        .observer(run -> new RunObserver.Observation() {
                            @Override
                            public void phase(long pid, Phase phase) {
                                throw new ArithmeticException("in between");
                            }

                            @Override
                            public void end(long pid, RunStatistics statistics) {
                                throw new AssertionError("at the end");
                            }
                        })
                        .observer(run -> new RunObserver.Observation() {
                            @Override
                            public void end(long pid, RunStatistics statistics) {
                                throw RunObserverTest.<RuntimeException>undeclared(new Exception("checked"));
                            }
                        })
                        .observer(told)
                        .build();
                Worker worker = Worker.start(folder, "worker")) {
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
            assertThat(told.all).last().isEqualTo("end " + worker.pid());
        }
    }

    /** A logger is told too, and may be set up to throw; nobody would have the process that was restored. */
    @Test
    void logThatThrowsChangesNothing() throws Exception {
        var thrown = new AtomicInteger();
        Logger logger = (Logger) LoggerFactory.getLogger("dev.rekindle");
        var appender = new AppenderBase<ILoggingEvent>() {
            @Override
            public synchronized void doAppend(ILoggingEvent event) {
                thrown.incrementAndGet();
                throw new ArithmeticException("in the log");
            }

            @Override
            protected void append(ILoggingEvent event) {}
        };
        Level before = logger.getLevel();
        logger.addAppender(appender);
        logger.setLevel(Level.DEBUG);
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
            worker.awaitEnd();
            RestoredProcess restored = rekindle.restore(RestoreRequest.of(Path.of("images")));
            assertThat(restored.pid()).isEqualTo(worker.pid());
            assertThat(thrown.get()).isPositive();
        } finally {
            logger.setLevel(before);
            logger.detachAppender(appender);
        }
    }

    @SuppressWarnings({"unchecked", "TypeParameterUnusedInFormals"})
    private static <E extends Throwable> E undeclared(Throwable failure) throws E {
        throw (E) failure;
    }
}
