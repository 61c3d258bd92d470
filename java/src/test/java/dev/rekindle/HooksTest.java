// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Hooks that throw: all others are called too, and nothing of the run is lost. */
class HooksTest {
    @TempDir
    private Path folder;

    private final List<String> called = new ArrayList<>();

    private Runnable hook(String name) {
        return () -> {
            called.add(name);
            throw new ArithmeticException(name);
        };
    }

    @Test
    void runDoesNotBeginWhereAHookBeforeItThrows() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker", false, "--no-cuda")) {
            var request = CheckpointRequest.builder(worker.pid(), Path.of("images"))
                    .beforeCheckpoint(hook("first"))
                    .beforeCheckpoint(hook("second"))
                    .afterCheckpoint(result -> called.add("after"))
                    .afterFailedCheckpoint(hook("taken back"))
                    .build();
            assertThatThrownBy(() -> rekindle.checkpoint(request))
                    .isInstanceOfSatisfying(HookException.class, failure -> {
                        assertThat(failure)
                                .hasMessageContaining("did not begin")
                                .hasMessageContaining("first");
                        assertThat(failure)
                                .cause()
                                .hasMessage("first")
                                .satisfies(cause -> assertThat(cause.getSuppressed())
                                        .extracting(Throwable::getMessage)
                                        .containsExactly("second"));
                        assertThat(failure.getSuppressed())
                                .extracting(Throwable::getMessage)
                                .containsExactly("taken back");
                        assertThat(failure.checkpoint()).isEmpty();
                    });
            assertThat(called).containsExactly("first", "second", "taken back");
            assertThat(folder.resolve("images")).doesNotExist();
            worker.advance();

            called.clear();
            assertThatThrownBy(() -> rekindle.restore(RestoreRequest.builder(Path.of("none"))
                            .beforeRestore(hook("before"))
                            .afterFailedRestore(() -> called.add("failed"))
                            .build()))
                    .isInstanceOf(HookException.class);
            assertThat(called).containsExactly("before", "failed");
        }
    }

    @Test
    void failedRunIsFollowedByItsHooks() {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
            assertThatThrownBy(() -> rekindle.restore(RestoreRequest.builder(Path.of("none"))
                            .beforeRestore(() -> called.add("before"))
                            .afterRestore(process -> called.add("after"))
                            .afterFailedRestore(hook("failed"))
                            .build()))
                    .isInstanceOf(NoImageException.class)
                    .satisfies(failure -> assertThat(failure.getSuppressed())
                            .extracting(Throwable::getMessage)
                            .containsExactly("failed"));
            assertThat(called).containsExactly("before", "failed");
        }
    }

    @Test
    void hookThatThrowsAfterwardsTakesNothingAway() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            var checkpoint = CheckpointRequest.builder(worker.pid(), Path.of("images"))
                    .afterCheckpoint(result -> hook("first").run())
                    .afterCheckpoint(result -> hook("second").run())
                    .afterFailedCheckpoint(() -> called.add("failed"))
                    .build();
            HookException dumped = catchThrowableOfType(HookException.class, () -> rekindle.checkpoint(checkpoint));
            assertThat(dumped).hasMessageContaining("is complete");
            assertThat(dumped.checkpoint())
                    .hasValueSatisfying(result -> assertThat(result.pid()).isEqualTo(worker.pid()));
            assertThat(dumped.process()).isEmpty();
            assertThat(called).containsExactly("first", "second");
            worker.awaitEnd();

            called.clear();
            var restore = RestoreRequest.builder(Path.of("images"))
                    .afterRestore(process -> hook("first").run())
                    .afterRestore(process -> called.add("of " + process.pid()))
                    .afterFailedRestore(() -> called.add("failed"))
                    .build();
            HookException restored = catchThrowableOfType(HookException.class, () -> rekindle.restore(restore));
            assertThat(restored).hasMessageContaining("runs");
            assertThat(restored.process())
                    .hasValueSatisfying(process -> assertThat(process.pid()).isEqualTo(worker.pid()));
            assertThat(called).containsExactly("first", "of " + worker.pid());
            worker.advance();
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }
}
