// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * Statistics of one checkpoint or restore. Immutable, so any threads may use it. Sizes are bytes. Other implementations
 * than the library's are for tests; it may get further methods.
 */
public interface RunStatistics {
    /**
     * What the run did.
     *
     * @return the kind of run
     */
    RunKind kind();

    /**
     * Whether it succeeded.
     *
     * @return true where {@link #failure} is empty
     */
    default boolean succeeded() {
        return failure().isEmpty();
    }

    /**
     * Why it failed.
     *
     * @return a sentence, empty where it succeeded
     */
    Optional<String> failure();

    /**
     * How long it took.
     *
     * @return the time from the call, or from the start of CRIU where it was read from a folder
     */
    Duration duration();

    /**
     * Device memory moved outside the process image.
     *
     * @return bytes of all processes
     */
    long deviceBytes();

    /**
     * Size of CRIU's pages images.
     *
     * @return bytes
     */
    long hostBytes();

    /**
     * Stored size of the GPU images; zero chunks are not stored.
     *
     * @return bytes
     */
    long imageBytes();

    /**
     * Of a checkpoint, those of {@link #imageBytes} that were not written, as an older image of the process has them: their
     * data files are linked.
     *
     * @return bytes, 0 of a restore
     */
    long linkedBytes();

    /**
     * Of a checkpoint, those of {@link #imageBytes} that were written.
     *
     * @return bytes, 0 of a restore
     */
    default long writtenBytes() {
        return kind() == RunKind.CHECKPOINT ? imageBytes() - linkedBytes() : 0;
    }

    /**
     * Device memory that was, or is, where nobody has to read it.
     *
     * @return bytes: of a checkpoint, what stays in a pool for the next restore, see {@link Park}; of a restore, what was there
     *     before, parked or prefetched
     */
    long residentBytes();

    /**
     * How much GPU copying was hidden behind CRIU's own work.
     *
     * @return its time
     */
    Duration overlap();

    /**
     * Whether contexts and buffers were there already.
     *
     * @return true where a pool was warm
     */
    boolean poolWarm();

    /**
     * Whether the simulated driver was used.
     *
     * @return true for the simulated one
     */
    boolean simulated();

    /**
     * The driver's version.
     *
     * @return as {@code cuDriverGetVersion} says, 13000 for CUDA 13.0; empty where no process used CUDA
     */
    OptionalInt driverVersion();

    /**
     * The GPU of the first process.
     *
     * @return its model, empty where no process used CUDA
     */
    Optional<String> gpuName();

    /**
     * CRIU's version.
     *
     * @return the version, empty where it is not known
     */
    Optional<String> criuVersion();

    /**
     * How many threads CRIU was told to restore memory with.
     *
     * @return the number, 0 to choose itself; empty where it was not told (it has no such option, or was not to use it), for
     *     checkpoints, and where its log does not say it
     */
    OptionalInt restoreThreads();

    /**
     * CRIU's own figures.
     *
     * @return the figures
     */
    CriuStatistics criu();

    /**
     * The processes that use CUDA.
     *
     * @return a list that cannot be changed
     */
    List<ProcessStatistics> processes();

    /**
     * Reads the statistics that a run left in its work folder.
     *
     * @param workDirectory the work folder of the run, which is the image folder unless the request named another
     * @param kind which run's statistics to read
     * @return the statistics
     * @throws RekindleException where there are none that can be read
     */
    static RunStatistics read(Path workDirectory, RunKind kind) {
        Objects.requireNonNull(workDirectory, "workDirectory");
        Objects.requireNonNull(kind, "kind");
        return NativeStatistics.read(workDirectory, kind);
    }
}
