// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * What a folder holds, read without restoring it. Immutable, so any threads may use it, and independent of any
 * {@link Rekindle} handle. Sizes are bytes. Other implementations than the library's are for tests; it may get further
 * methods.
 */
public interface CheckpointImage {
    /**
     * Reads what a folder holds.
     *
     * @param directory an image folder
     * @return its contents
     * @throws RekindleException where it holds no checkpoint that can be read, or not all files that its manifest lists
     */
    static CheckpointImage open(Path directory) {
        return ReadImage.open(Objects.requireNonNull(directory, "directory"));
    }

    /**
     * The folder.
     *
     * @return its absolute path
     */
    Path directory();

    /**
     * When it was made.
     *
     * @return the time, in whole seconds
     */
    Instant created();

    /**
     * Root of the tree.
     *
     * @return its pid, in its own pid namespace
     */
    long rootPid();

    /**
     * All processes of the tree.
     *
     * @return a list that cannot be changed
     */
    List<ImageProcess> processes();

    /**
     * What the processes have together on each GPU of the machine of the dump, and so what a restore needs.
     *
     * @return one for each GPU, whether there is memory on it or not; a list that cannot be changed
     */
    List<GpuUse> gpus();

    /**
     * Size of CRIU's pages images.
     *
     * @return bytes
     */
    long hostBytes();

    /**
     * Device memory outside the process images, and memory of the host that the driver made ({@code cuMemCreate}).
     *
     * @return bytes
     */
    long deviceBytes();

    /**
     * Stored size of the GPU images; zero chunks are not stored.
     *
     * @return bytes
     */
    long imageBytes();

    /**
     * Of {@link #imageBytes}, what lies in data files that were written for older images of the processes.
     *
     * @return bytes
     */
    long linkedBytes();

    /**
     * What those files hold beside {@link #linkedBytes}, which nobody needs here.
     *
     * @return bytes
     */
    long deadBytes();

    /**
     * Whether a restore needs the plugin.
     *
     * @return true where it does
     */
    boolean usesCudaPlugin();

    /**
     * Whether it was made with the simulated driver.
     *
     * @return true for the simulated one
     */
    boolean simulated();

    /**
     * The driver's version at the dump.
     *
     * @return as {@code cuDriverGetVersion} said, 13000 for CUDA 13.0; empty where no process used CUDA
     */
    OptionalInt driverVersion();

    /**
     * The driver's version for people.
     *
     * @return as in {@code CUDA 13.0}; empty where no process used CUDA
     */
    Optional<String> driver();

    /**
     * CRIU that made it.
     *
     * @return its version; empty where no log beside the images says it
     */
    Optional<String> criuVersion();

    /**
     * Whether a manifest lists all of its files with their sizes and checksums.
     *
     * @return false for a checkpoint of another program
     */
    boolean hasManifest();

    /**
     * Says whether it can be restored on these GPUs as they are, those of {@link Rekindle#gpus} or of another machine. The
     * rules are those of a restore, which takes the same GPUs, or others of the same model that have room; nothing is asked
     * of a driver.
     *
     * @param gpus all GPUs of the machine
     * @return whether, and why not
     * @throws RekindleException where the folder holds no checkpoint any more that can be read
     * @throws IllegalArgumentException where a GPU's model or UUID is none
     */
    default Restorability restorableOn(List<Gpu> gpus) {
        return restorableOn(gpus, "");
    }

    /**
     * Says whether it can be restored on those of the GPUs that a device map chooses.
     *
     * @param gpus all GPUs of the machine
     * @param deviceMap as for {@link RestoreRequest.Builder#deviceMap}
     * @return whether, and why not
     * @throws RekindleException where the folder holds no checkpoint any more that can be read
     * @throws IllegalArgumentException where a GPU's model or UUID is none
     */
    Restorability restorableOn(List<Gpu> gpus, String deviceMap);

    /**
     * Groups what a run has told of its processes by their GPUs. A process of {@link Mode#NATIVE} is under none: only the
     * driver knows where its memory lies.
     *
     * @param run the run that made this checkpoint, or one that restored it
     * @return one for each of {@link #gpus}, in the same order; a list that cannot be changed
     * @throws IllegalArgumentException where a process of the run is not in this checkpoint with the same device memory: it
     *     is the run of another one, one that failed, or counts processes in another pid namespace, as a restore into a
     *     container does
     */
    default List<GpuStatistics> statistics(RunStatistics run) {
        return GpuStatistics.of(this, Objects.requireNonNull(run, "run"));
    }

    /**
     * Reads the files of the checkpoint and compares their checksums: all of them where {@link #hasManifest()}, else those
     * of the GPU images only, and nothing is known of CRIU's.
     *
     * @return how many bytes were read and are right
     * @throws RekindleException where a checksum is wrong, or a file is missing or truncated; the message names it
     */
    long verify();

    /**
     * The same as {@link #verify()}, watched.
     *
     * @param listener who watches
     * @return how many bytes were read and are right
     * @throws RekindleException where a checksum is wrong, or a file is missing or truncated; the message names it
     */
    long verify(ProgressListener listener);
}
