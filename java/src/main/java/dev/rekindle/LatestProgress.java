// SPDX-License-Identifier: MIT
package dev.rekindle;

import org.jspecify.annotations.Nullable;

/** Keeps what a run has reported last, and passes it on to the request's own listener. */
final class LatestProgress implements ProgressListener {
    private final @Nullable ProgressListener next;
    private volatile Progress latest = Progress.NONE;

    LatestProgress(@Nullable ProgressListener next) {
        this.next = next;
    }

    Progress latest() {
        return latest;
    }

    @Override
    public void onProgress(long bytesDone, long bytesTotal, PhaseKind phase) {
        latest = new Progress(phase, bytesDone, bytesTotal);
        if (next != null) {
            next.onProgress(bytesDone, bytesTotal, phase);
        }
    }
}
