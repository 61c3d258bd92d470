// SPDX-License-Identifier: MIT
package dev.rekindle.micrometer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.rekindle.test.SimulatedGpu;
import dev.rekindle.test.SimulatedGpuExtension;
import dev.rekindle.test.Worker;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/** Of rekindle-test, whose programs are in its jar only, and so where it is used. */
@ExtendWith(SimulatedGpuExtension.class)
class WorkersTest {
    @Test
    void theyMayBeStartedSideBySide(SimulatedGpu gpu) {
        List<CompletableFuture<Worker>> starts = Stream.generate(
                        () -> CompletableFuture.supplyAsync(() -> gpu.startWorker("--mib", "2")))
                .limit(2)
                .toList();
        Worker first = starts.getFirst().join();
        Worker second = starts.getLast().join();
        String contents = second.contents();
        first.changeContents();
        assertThat(second.contents()).isEqualTo(contents);
        first.close();
        assertThat(second.contents()).isEqualTo(contents);
    }

    @Test
    void oneThatDoesNotStartIsNotInTheWayOfTheNext(SimulatedGpu gpu) {
        assertThatThrownBy(() -> gpu.startWorker("--unknown")).isInstanceOf(IllegalStateException.class);
        assertThat(gpu.startWorker("--mib", "2").contents()).isNotEmpty();
    }
}
