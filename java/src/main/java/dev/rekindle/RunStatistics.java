// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Objects;

/**
 * Statistics of one checkpoint or restore. Immutable, so any threads may use it.
 *
 * @param kind what the run did
 * @param succeeded whether it succeeded
 * @param duration how long it took
 * @param deviceBytes device memory moved outside the process image
 * @param hostBytes size of CRIU's pages images
 * @param imageBytes stored size of the GPU images; zero chunks are not stored
 * @param overlap how much GPU copying was hidden behind CRIU's own work
 * @param poolWarm whether contexts and buffers were there already
 * @param simulated whether the simulated driver was used
 * @param driverVersion as {@code cuDriverGetVersion} says, 0 where no process used CUDA
 * @param restoreThreads how many threads CRIU was told to restore memory with: 0 to choose itself, -1 where
 *     it was not told (it has no such option, or was not to use it), for checkpoints, and where read from a folder
 * @param criu CRIU's own figures
 * @param processes the processes that use CUDA
 * @param gpuName name of the GPU, or empty
 * @param criuVersion version of CRIU, or empty
 * @param failure why it failed, empty where it did not
 */
public record RunStatistics(
        RunKind kind,
        boolean succeeded,
        Duration duration,
        long deviceBytes,
        long hostBytes,
        long imageBytes,
        Duration overlap,
        boolean poolWarm,
        boolean simulated,
        int driverVersion,
        int restoreThreads,
        CriuStatistics criu,
        List<ProcessStatistics> processes,
        String gpuName,
        String criuVersion,
        String failure) {
    /**
     * Copies the list.
     *
     * @param kind what the run did
     * @param succeeded whether it succeeded
     * @param duration how long it took
     * @param deviceBytes device memory moved outside the process image
     * @param hostBytes size of CRIU's pages images
     * @param imageBytes stored size of the GPU images; zero chunks are not stored
     * @param overlap how much GPU copying was hidden behind CRIU's own work
     * @param poolWarm whether contexts and buffers were there already
     * @param simulated whether the simulated driver was used
     * @param driverVersion as {@code cuDriverGetVersion} says, 0 where no process used CUDA
     * @param restoreThreads how many threads CRIU was told to restore memory with: 0 to choose itself, -1 where
     *     it was not told (it has no such option, or was not to use it), for checkpoints, and where read from a folder
     * @param criu CRIU's own figures
     * @param processes the processes that use CUDA
     * @param gpuName name of the GPU, or empty
     * @param criuVersion version of CRIU, or empty
     * @param failure why it failed, empty where it did not
     */
    public RunStatistics {
        processes = List.copyOf(processes);
    }

    /**
     * Reads the statistics that a run left in its work folder.
     *
     * @param workDirectory the work folder of the run, which is the image folder unless the request named another
     * @param kind which run's statistics to read
     * @return the statistics
     * @throws RekindleException where there are none that can be read
     */
    public static RunStatistics read(Path workDirectory, RunKind kind) {
        Objects.requireNonNull(workDirectory, "workDirectory");
        Objects.requireNonNull(kind, "kind");
        return NativeStatistics.read(workDirectory, kind);
    }
}
