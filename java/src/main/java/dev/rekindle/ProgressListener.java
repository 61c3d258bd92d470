// SPDX-License-Identifier: MIT
package dev.rekindle;

/**
 * Watches a run. It is called on the thread that runs it, about 50 times a second and once at the end. One that watches
 * several runs at once has to be safe for that itself.
 *
 * <p>A listener that throws ends the run: the run is cancelled, and the exception is thrown by the call (or completes
 * its future). It must not block, and must not start another run from inside the call.
 */
@FunctionalInterface
public interface ProgressListener {
    /**
     * Takes a report.
     *
     * @param bytesDone bytes moved up to now
     * @param bytesTotal bytes to move in all, 0 until that is known
     * @param phase what is being done
     */
    void onProgress(long bytesDone, long bytesTotal, PhaseKind phase);
}
