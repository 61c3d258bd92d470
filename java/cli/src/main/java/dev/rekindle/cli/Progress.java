// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.PhaseKind;
import dev.rekindle.ProgressListener;
import java.io.Closeable;
import java.io.Console;
import java.io.PrintWriter;
import java.util.function.LongSupplier;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;
import org.jspecify.annotations.Nullable;

/** A progress bar on standard error where that is a terminal, and a line every few seconds elsewhere. */
final class Progress implements ProgressListener, Closeable {
    private static final long MEBIBYTE = 1 << 20;

    private static final long LINE_NANOSECONDS = 5_000_000_000L;

    private final String task;
    private final PrintWriter err;
    private final @Nullable ProgressBar bar;
    private final LongSupplier nanoseconds;
    private long lastLine;

    Progress(String task, PrintWriter err) {
        this(task, err, isTerminal(), System::nanoTime);
    }

    /** With a clock that counts nanoseconds. */
    Progress(String task, PrintWriter err, boolean terminal, LongSupplier nanoseconds) {
        this.task = task;
        this.err = err;
        this.nanoseconds = nanoseconds;
        lastLine = nanoseconds.getAsLong();
        bar = terminal
                ? new ProgressBarBuilder()
                        .setTaskName(task)
                        .setUnit(" MiB", MEBIBYTE)
                        .setStyle(ProgressBarStyle.ASCII)
                        .showSpeed()
                        .clearDisplayOnFinish()
                        .build()
                : null;
    }

    @SuppressWarnings("SystemConsoleNull") // it is declared to be nullable
    private static boolean isTerminal() {
        Console console = System.console();
        return console != null && console.isTerminal();
    }

    @Override
    public void onProgress(long bytesDone, long bytesTotal, PhaseKind phase) {
        if (bar != null) {
            bar.maxHint(bytesTotal == 0 ? -1 : bytesTotal);
            bar.stepTo(bytesDone);
            bar.setExtraMessage(Texts.lower(phase));
            return;
        }
        long now = nanoseconds.getAsLong();
        if (now - lastLine >= LINE_NANOSECONDS) {
            lastLine = now;
            err.printf(
                    "rekindle: %s: %s%s%n",
                    task,
                    Texts.lower(phase),
                    bytesTotal == 0 ? "" : ", " + Texts.bytes(bytesDone) + " of " + Texts.bytes(bytesTotal));
            err.flush();
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
