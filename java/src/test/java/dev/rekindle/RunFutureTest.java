// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import java.util.concurrent.Executors;
import org.junit.jupiter.api.Test;

class RunFutureTest {
    @Test
    void aRunThatComesWhileItsHandleClosesIsRefusedAsOneOfAClosedHandle() {
        try (var executor = Executors.newSingleThreadExecutor()) {
            executor.shutdown();
            assertThatIllegalStateException()
                    .isThrownBy(() -> RunFuture.start(executor, null, operation -> "result", result -> {}))
                    .withMessageContaining("closed");
        }
    }
}
