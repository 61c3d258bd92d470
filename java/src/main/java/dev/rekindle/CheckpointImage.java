// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import dev.rekindle.internal.ffi.rekindle_image;
import dev.rekindle.internal.ffi.rekindle_image_process;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * What a folder holds, read without restoring it. Immutable, so any threads may use it, and independent of any
 * {@link Rekindle} handle.
 *
 * @param directory the folder
 * @param created when it was made
 * @param rootPid root of the tree
 * @param processes all processes of the tree
 * @param hostBytes size of CRIU's pages images
 * @param deviceBytes device memory outside the process images
 * @param imageBytes stored size of the GPU images
 * @param usesCudaPlugin whether a restore needs the plugin
 * @param simulated whether it was made with the simulated driver
 * @param driverVersion as {@code cuDriverGetVersion} said, 0 where no process used CUDA
 * @param driver the driver's version for people, or empty
 * @param gpuName name of the GPU, or empty
 * @param gpuUuid its UUID, or empty
 * @param criuVersion CRIU that made it, or empty
 */
public record CheckpointImage(
        Path directory,
        Instant created,
        int rootPid,
        List<ImageProcess> processes,
        long hostBytes,
        long deviceBytes,
        long imageBytes,
        boolean usesCudaPlugin,
        boolean simulated,
        int driverVersion,
        String driver,
        String gpuName,
        String gpuUuid,
        String criuVersion) {
    /**
     * Copies the list.
     *
     * @param directory the folder
     * @param created when it was made
     * @param rootPid root of the tree
     * @param processes all processes of the tree
     * @param hostBytes size of CRIU's pages images
     * @param deviceBytes device memory outside the process images
     * @param imageBytes stored size of the GPU images
     * @param usesCudaPlugin whether a restore needs the plugin
     * @param simulated whether it was made with the simulated driver
     * @param driverVersion as {@code cuDriverGetVersion} said, 0 where no process used CUDA
     * @param driver the driver's version for people, or empty
     * @param gpuName name of the GPU, or empty
     * @param gpuUuid its UUID, or empty
     * @param criuVersion CRIU that made it, or empty
     */
    public CheckpointImage {
        processes = List.copyOf(processes);
    }

    /**
     * Reads what a folder holds.
     *
     * @param directory an image folder
     * @return its contents
     * @throws RekindleException where it holds no checkpoint that can be read
     */
    public static CheckpointImage open(Path directory) {
        Objects.requireNonNull(directory, "directory");
        NativeLibrary.load();
        int capacity = NativeStatistics.CAPACITY;
        while (true) {
            try (NativeCall call = NativeCall.begin()) {
                MemorySegment image = call.zeroed(rekindle_image.layout());
                MemorySegment processes = call.array(rekindle_image_process.layout(), capacity);
                int code = RekindleNative.rekindle_image_read(
                        call.path(directory), image, processes, capacity, call.error());
                if (code != RekindleNative.REKINDLE_OK()) {
                    throw Failure.exception(Failure.Action.IMAGE, code, call.error());
                }
                int count = rekindle_image.process_count(image);
                if (count <= capacity) {
                    return decode(directory.toAbsolutePath(), image, processes, count);
                }
                capacity = count;
            }
        }
    }

    /**
     * Reads every chunk of the GPU images and compares its checksum.
     *
     * @return how many bytes were read
     * @throws RekindleException where a checksum is wrong or a file is truncated; the message names file and chunk
     */
    public long verify() {
        return verify(null);
    }

    /**
     * Reads every chunk of the GPU images and compares its checksum.
     *
     * @param listener who watches, or {@code null}
     * @return how many bytes were read
     * @throws RekindleException where a checksum is wrong or a file is truncated; the message names file and chunk
     */
    public long verify(@Nullable ProgressListener listener) {
        NativeLibrary.load();
        try (NativeOperation operation = NativeOperation.watching(listener);
                NativeCall call = NativeCall.begin()) {
            MemorySegment bytes = call.allocate(ValueLayout.JAVA_LONG);
            int code = RekindleNative.rekindle_image_verify(
                    call.path(directory), NativeOperation.address(operation), bytes, call.error());
            if (code != RekindleNative.REKINDLE_OK()) {
                RekindleException failure = Failure.exception(Failure.Action.IMAGE, code, call.error());
                NativeOperation.rethrow(operation, failure);
                throw failure;
            }
            NativeOperation.rethrow(operation, "the images are whole");
            return bytes.get(ValueLayout.JAVA_LONG, 0);
        }
    }

    private static CheckpointImage decode(Path directory, MemorySegment image, MemorySegment processes, int count) {
        var list = new ArrayList<ImageProcess>(count);
        for (int i = 0; i < count; i++) {
            MemorySegment process = rekindle_image_process.asSlice(processes, i);
            list.add(new ImageProcess(
                    rekindle_image_process.pid(process),
                    rekindle_image_process.parent_pid(process),
                    rekindle_image_process.name(process).getString(0),
                    rekindle_image_process.threads(process),
                    Mode.of(rekindle_image_process.mode(process)),
                    rekindle_image_process.reason(process).getString(0),
                    rekindle_image_process.allocations(process),
                    rekindle_image_process.host_bytes(process),
                    rekindle_image_process.device_bytes(process),
                    rekindle_image_process.image_bytes(process)));
        }
        return new CheckpointImage(
                directory,
                Instant.ofEpochSecond(rekindle_image.created(image)),
                rekindle_image.root_pid(image),
                list,
                rekindle_image.host_bytes(image),
                rekindle_image.device_bytes(image),
                rekindle_image.image_bytes(image),
                rekindle_image.uses_cuda_plugin(image) != 0,
                rekindle_image.simulated(image) != 0,
                rekindle_image.driver_version(image),
                rekindle_image.driver_text(image).getString(0),
                rekindle_image.gpu_name(image).getString(0),
                rekindle_image.gpu_uuid(image).getString(0),
                rekindle_image.criu_version(image).getString(0));
    }
}
