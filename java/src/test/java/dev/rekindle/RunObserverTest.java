// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

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
                                throw new ArithmeticException("at the end");
                            }
                        })
                        .observer(told)
                        .build();
                Worker worker = Worker.start(folder, "worker")) {
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
            assertThat(told.all).last().isEqualTo("end " + worker.pid());
        }
    }
}
