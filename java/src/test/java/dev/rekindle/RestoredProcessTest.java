// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** One image restored twice: two processes that have one pid. */
class RestoredProcessTest {
    @TempDir
    private Path folder;

    @Test
    void resultsFollowTheirOwnProcess() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
            worker.awaitEnd();
            RestoredProcess first = rekindle.restore(RestoreRequest.of(Path.of("images")));
            var firstEnd = first.onExit();
            worker.close();

            RestoredProcess second = rekindle.restore(RestoreRequest.of(Path.of("images")));
            assertThat(second.pid()).isEqualTo(first.pid());
            var secondEnd = second.onExit();
            assertThat(first.processHandle())
                    .hasValueSatisfying(handle -> assertThat(handle.isAlive()).isFalse());
            assertThat(first.onExit()).isCompletedWithValue(first);
            assertThat(firstEnd.get(30, TimeUnit.SECONDS)).isEqualTo(first);
            ((RestoredTree) first).kill();
            assertThatThrownBy(() -> secondEnd.get(1, TimeUnit.SECONDS)).isInstanceOf(TimeoutException.class);

            worker.advance();
            ((RestoredTree) second).kill();
            assertThat(secondEnd.get(30, TimeUnit.SECONDS)).isEqualTo(second);
        }
    }
}
