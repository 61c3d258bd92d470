// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.PhaseKind;
import dev.rekindle.ProgressListener;
import java.io.Closeable;
import java.io.Console;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;
import org.jspecify.annotations.Nullable;

/** A progress bar on standard error, where that is a terminal. */
final class Progress implements ProgressListener, Closeable {
    private static final long MEBIBYTE = 1 << 20;

    private final @Nullable ProgressBar bar;

    @SuppressWarnings("SystemConsoleNull") // it is declared to be nullable
    Progress(String task) {
        Console console = System.console();
        bar = console != null && console.isTerminal()
                ? new ProgressBarBuilder()
                        .setTaskName(task)
                        .setUnit(" MiB", MEBIBYTE)
                        .setStyle(ProgressBarStyle.ASCII)
                        .showSpeed()
                        .clearDisplayOnFinish()
                        .build()
                : null;
    }

    @Override
    public void onProgress(long bytesDone, long bytesTotal, PhaseKind phase) {
        if (bar != null) {
            bar.maxHint(bytesTotal == 0 ? -1 : bytesTotal);
            bar.stepTo(bytesDone);
            bar.setExtraMessage(Texts.lower(phase));
        }
    }

    /** Takes the bar away, so that other output can follow. */
    void finish() {
        if (bar != null) {
            bar.close();
        }
    }

    @Override
    public void close() {
        finish();
    }
}
