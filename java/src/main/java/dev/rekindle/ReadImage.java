// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import dev.rekindle.internal.ffi.rekindle_fit_request;
import dev.rekindle.internal.ffi.rekindle_image;
import dev.rekindle.internal.ffi.rekindle_image_gpu;
import dev.rekindle.internal.ffi.rekindle_image_process;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;

/** What native code has read of a folder. */
record ReadImage(
        Path directory,
        Instant created,
        long rootPid,
        List<ImageProcess> processes,
        List<GpuUse> gpus,
        long hostBytes,
        long deviceBytes,
        long imageBytes,
        long linkedBytes,
        long deadBytes,
        boolean usesCudaPlugin,
        boolean simulated,
        OptionalInt driverVersion,
        Optional<String> driver,
        Optional<String> criuVersion,
        boolean hasManifest)
        implements CheckpointImage {
    static ReadImage open(Path directory) {
        NativeLibrary.load();
        Map<Long, List<GpuUse>> uses = uses(directory);
        int capacity = NativeStatistics.CAPACITY;
        while (true) {
            try (NativeCall call = NativeCall.begin()) {
                MemorySegment image = call.zeroed(rekindle_image.layout());
                MemorySegment processes = call.array(rekindle_image_process.layout(), capacity);
                check(
                        RekindleNative.rekindle_image_read(
                                call.path(directory), image, processes, capacity, call.error()),
                        call);
                int count = rekindle_image.process_count(image);
                if (count <= capacity) {
                    return decode(directory.toAbsolutePath(), image, processes, count, uses);
                }
                capacity = count;
            }
        }
    }

    /** What each process has on which GPU. */
    private static Map<Long, List<GpuUse>> uses(Path directory) {
        int capacity = NativeStatistics.CAPACITY;
        while (true) {
            try (NativeCall call = NativeCall.begin()) {
                MemorySegment gpus = call.array(rekindle_image_gpu.layout(), capacity);
                MemorySegment count = call.allocate(ValueLayout.JAVA_INT);
                check(
                        RekindleNative.rekindle_image_gpus(call.path(directory), gpus, capacity, count, call.error()),
                        call);
                int all = count.get(ValueLayout.JAVA_INT, 0);
                if (all > capacity) {
                    capacity = all;
                    continue;
                }
                Map<Long, List<GpuUse>> uses = new LinkedHashMap<>();
                for (int i = 0; i < all; i++) {
                    MemorySegment gpu = rekindle_image_gpu.asSlice(gpus, i);
                    uses.computeIfAbsent((long) rekindle_image_gpu.pid(gpu), pid -> new ArrayList<>())
                            .add(use(gpu));
                }
                return uses;
            }
        }
    }

    private static GpuUse use(MemorySegment gpu) {
        return new GpuUse(
                rekindle_image_gpu.device(gpu),
                rekindle_image_gpu.name(gpu).getString(0),
                rekindle_image_gpu.uuid(gpu).getString(0),
                rekindle_image_gpu.memory_bytes(gpu),
                rekindle_image_gpu.device_bytes(gpu),
                Absent.unlessPositive(rekindle_image_gpu.driver_bytes(gpu)),
                rekindle_image_gpu.allocations(gpu));
    }

    private static List<String> ids(String text) {
        return text.isEmpty() ? List.of() : List.of(text.split(" "));
    }

    private static ReadImage decode(
            Path directory, MemorySegment image, MemorySegment processes, int count, Map<Long, List<GpuUse>> uses) {
        var list = new ArrayList<ImageProcess>(count);
        for (int i = 0; i < count; i++) {
            MemorySegment process = rekindle_image_process.asSlice(processes, i);
            long pid = rekindle_image_process.pid(process);
            list.add(new ImageProcess(
                    pid,
                    rekindle_image_process.parent_pid(process),
                    rekindle_image_process.name(process).getString(0),
                    rekindle_image_process.threads(process),
                    Mode.of(rekindle_image_process.mode(process)),
                    Absent.unlessText(rekindle_image_process.reason(process)),
                    rekindle_image_process.host_bytes(process),
                    new GpuImage(
                            rekindle_image_process.image_bytes(process),
                            rekindle_image_process.linked_bytes(process),
                            rekindle_image_process.dead_bytes(process),
                            ids(rekindle_image_process.linked_to(process).getString(0))),
                    uses.getOrDefault(pid, List.of())));
        }
        Map<String, GpuUse> gpus = new LinkedHashMap<>();
        uses.values().forEach(some -> some.forEach(use -> gpus.merge(use.uuid(), use, GpuUse::plus)));
        return new ReadImage(
                directory,
                Instant.ofEpochSecond(rekindle_image.created(image)),
                rekindle_image.root_pid(image),
                List.copyOf(list),
                List.copyOf(gpus.values()),
                rekindle_image.host_bytes(image),
                rekindle_image.device_bytes(image),
                rekindle_image.image_bytes(image),
                rekindle_image.linked_bytes(image),
                rekindle_image.dead_bytes(image),
                rekindle_image.uses_cuda_plugin(image) != 0,
                rekindle_image.simulated(image) != 0,
                Absent.unlessPositive(rekindle_image.driver_version(image)),
                Absent.unlessText(rekindle_image.driver_text(image)),
                Absent.unlessText(rekindle_image.criu_version(image)),
                rekindle_image.has_manifest(image) != 0);
    }

    @Override
    public Restorability restorableOn(List<Gpu> machine, String deviceMap) {
        List<Gpu> all = List.copyOf(Objects.requireNonNull(machine, "gpus"));
        Objects.requireNonNull(deviceMap, "deviceMap");
        NativeLibrary.load();
        try (NativeCall call = NativeCall.begin()) {
            MemorySegment request = call.zeroed(rekindle_fit_request.layout());
            rekindle_fit_request.structure_size(request, (int) request.byteSize());
            rekindle_fit_request.gpu_count(request, all.size());
            rekindle_fit_request.directory(request, call.path(directory));
            rekindle_fit_request.gpus(request, Gpu.write(call, all));
            rekindle_fit_request.device_map(request, call.string(deviceMap));
            int code = RekindleNative.rekindle_image_fits(request, call.error());
            if (code == RekindleNative.REKINDLE_OK()) {
                return new Restorability(Optional.empty());
            }
            RekindleException reason = Failure.exception(Failure.Action.RESTORE, code, call.error());
            return switch (reason.code()) {
                case NO_SPACE, INCOMPATIBLE, INVALID_ARGUMENT -> new Restorability(Optional.of(reason));
                default -> throw reason;
            };
        }
    }

    @Override
    public long verify() {
        return verifyAndTell(null);
    }

    @Override
    public long verify(ProgressListener listener) {
        return verifyAndTell(Objects.requireNonNull(listener, "listener"));
    }

    private long verifyAndTell(@Nullable ProgressListener listener) {
        NativeLibrary.load();
        try (NativeOperation operation = NativeOperation.watching(listener, Failure.Action.IMAGE);
                NativeCall call = NativeCall.begin()) {
            MemorySegment bytes = call.allocate(ValueLayout.JAVA_LONG);
            int code = RekindleNative.rekindle_image_verify(
                    call.path(directory), NativeOperation.address(operation), bytes, call.error());
            if (code != RekindleNative.REKINDLE_OK()) {
                RekindleException failure = Failure.exception(Failure.Action.IMAGE, code, call.error());
                NativeOperation.rethrow(operation, failure);
                throw failure;
            }
            NativeOperation.rethrow(operation, "the checksums are right");
            return bytes.get(ValueLayout.JAVA_LONG, 0);
        }
    }

    private static void check(int code, NativeCall call) {
        if (code != RekindleNative.REKINDLE_OK()) {
            throw Failure.exception(Failure.Action.IMAGE, code, call.error());
        }
    }
}
