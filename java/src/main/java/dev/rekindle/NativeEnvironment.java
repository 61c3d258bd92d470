// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import dev.rekindle.internal.ffi.rekindle_environment;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** The settings of a {@link Rekindle} handle, as {@code struct rekindle_environment} takes them. */
record NativeEnvironment(
        @Nullable Path criu,
        @Nullable Path pluginDirectory,
        @Nullable Path poolSocket,
        @Nullable Path cudaDriver,
        @Nullable Path configuration,
        int contextPool,
        int parallelRestore,
        int checksums,
        int streams,
        int restoreThreads,
        HugePages hugePages) {
    static final int AS_CONFIGURED = -1;
    private static final int PATH_MAX = 4096;

    MemorySegment write(NativeCall call) {
        NativeLog.connect();
        MemorySegment struct = call.zeroed(rekindle_environment.layout());
        rekindle_environment.structure_size(struct, (int) struct.byteSize());
        rekindle_environment.criu(struct, call.path(criu));
        rekindle_environment.plugin_directory(struct, call.path(pluginDirectory));
        rekindle_environment.pool_socket(struct, call.path(poolSocket));
        rekindle_environment.cuda_driver(struct, call.path(cudaDriver));
        rekindle_environment.configuration(struct, call.path(configuration));
        rekindle_environment.context_pool(struct, contextPool);
        rekindle_environment.parallel_restore(struct, parallelRestore);
        rekindle_environment.checksums(struct, checksums);
        rekindle_environment.streams(struct, streams);
        rekindle_environment.restore_threads(struct, restoreThreads);
        rekindle_environment.restore_hugepages(struct, hugePages.code());
        return struct;
    }

    /** Where a part of the release is, as a run with these settings takes it: the code is one of {@code REKINDLE_PART_*}. */
    Path part(int part) {
        try (NativeCall call = NativeCall.begin()) {
            MemorySegment path = call.allocate(PATH_MAX);
            int code = RekindleNative.rekindle_find_part(write(call), part, path, PATH_MAX, call.error());
            if (code != RekindleNative.REKINDLE_OK()) {
                throw Failure.exception(Failure.Action.CHECK, code, call.error());
            }
            return NativePath.of(path);
        }
    }

    Optional<RekindleException> check() {
        try (NativeCall call = NativeCall.begin()) {
            int code = RekindleNative.rekindle_check(write(call), call.error());
            return code == RekindleNative.REKINDLE_OK()
                    ? Optional.empty()
                    : Optional.of(Failure.exception(Failure.Action.CHECK, code, call.error()));
        }
    }
}
