// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.rekindle.PhaseKind;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

/** What is said of a run on its way where nobody looks at a terminal. */
class ProgressTest {
    private static final long SECOND = 1_000_000_000;

    private final StringWriter err = new StringWriter();

    /** From a number near the end of the clock's, as nanoTime may give them. */
    private final AtomicLong clock = new AtomicLong(Long.MAX_VALUE - 7 * SECOND);

    @Test
    void aLineIsSaidEveryFiveSeconds() {
        try (var progress = new Progress("checkpoint", new PrintWriter(err), false, clock::get)) {
            for (int tenths = 0; tenths < 160; tenths++) {
                progress.onProgress(tenths << 20, 160 << 20, PhaseKind.COPY_OUT);
                clock.addAndGet(SECOND / 10);
            }
        }
        assertThat(err.toString()).isEqualTo("""
                        rekindle: checkpoint: copy out, 50.0 MiB of 160.0 MiB
                        rekindle: checkpoint: copy out, 100.0 MiB of 160.0 MiB
                        rekindle: checkpoint: copy out, 150.0 MiB of 160.0 MiB
                        """);
    }

    /** However long the clock stood still in between, and where nobody knows how much there is. */
    @Test
    void aLateLineIsOneLine() {
        try (var progress = new Progress("verify", new PrintWriter(err), false, clock::get)) {
            clock.addAndGet(5 * SECOND - 1);
            progress.onProgress(0, 0, PhaseKind.CRIU);
            assertThat(err.toString()).isEmpty();
            clock.addAndGet(60 * SECOND);
            progress.onProgress(0, 0, PhaseKind.CRIU);
            progress.onProgress(0, 0, PhaseKind.CRIU);
        }
        assertThat(err.toString()).isEqualTo("rekindle: verify: criu\n");
    }
}
