// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import dev.rekindle.internal.ffi.rekindle_checkpoint_request;
import dev.rekindle.internal.ffi.rekindle_restore_request;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.Optional;
import java.util.OptionalLong;

/** Runs checkpoints and restores with the settings of a handle, on the thread of the call. */
final class Runner {
    /** In place of an older checkpoint's folder, of which no absolute one has the name. */
    private static final String WHOLE = "none";

    private final NativeEnvironment environment;
    private final ImageRoot root;
    private final RunObserver observer;

    Runner(NativeEnvironment environment, ImageRoot root, RunObserver observer) {
        this.environment = environment;
        this.root = root;
        this.observer = observer;
    }

    CheckpointResult checkpoint(CheckpointRequest request, NativeOperation operation) {
        operation.enter();
        CheckpointResult result;
        try {
            Throwable thrown = request.hooks.callBefore();
            if (thrown != null) {
                throw new HookException("the checkpoint did not begin", thrown, null, null);
            }
            result = dumpAndTell(request, operation);
        } catch (Throwable failure) {
            request.hooks.callFailed(failure);
            throw failure;
        }
        Throwable thrown = request.hooks.callAfter(result);
        if (thrown != null) {
            throw new HookException("the checkpoint in " + result.directory() + " is complete", thrown, result, null);
        }
        return result;
    }

    private CheckpointResult dumpAndTell(CheckpointRequest request, NativeOperation operation) {
        Path images = root.resolve(request.directory());
        RunStatistics statistics;
        var observation = observer.begin(new RunStart(RunKind.CHECKPOINT, images, OptionalLong.of(request.pid)));
        try {
            statistics = dump(request, images, operation);
        } catch (Throwable failure) {
            observation.fail(told(failure));
            NativeOperation.rethrow(operation, failure);
            throw failure;
        }
        observation.end(request.pid, statistics);
        // Here, where no catch above takes it for a failure of the dump.
        NativeOperation.rethrow(operation, "the checkpoint in " + images + " is complete");
        return new CheckpointResult(request.pid, images, statistics);
    }

    private RunStatistics dump(CheckpointRequest request, Path images, NativeOperation operation) {
        Path work = workDirectory(request.run, images);
        try (NativeCall call = NativeCall.begin()) {
            MemorySegment struct = call.zeroed(rekindle_checkpoint_request.layout());
            rekindle_checkpoint_request.structure_size(struct, (int) struct.byteSize());
            rekindle_checkpoint_request.pid(struct, request.pid);
            rekindle_checkpoint_request.directory(struct, call.path(images));
            rekindle_checkpoint_request.work_directory(struct, call.path(work));
            rekindle_checkpoint_request.log_file(struct, call.string(request.run.logFile()));
            rekindle_checkpoint_request.flags(struct, request.run.flagBits());
            rekindle_checkpoint_request.log_level(struct, request.run.logLevel());
            rekindle_checkpoint_request.timeout_seconds(struct, request.timeoutSeconds);
            rekindle_checkpoint_request.argument_count(
                    struct, request.run.arguments().size());
            rekindle_checkpoint_request.arguments(struct, call.strings(request.run.arguments()));
            rekindle_checkpoint_request.operation(struct, NativeOperation.address(operation));
            rekindle_checkpoint_request.park(struct, Park.code(request.park));
            if (request.whole) {
                rekindle_checkpoint_request.parent(struct, call.string(WHOLE));
            } else if (request.parent != null) {
                rekindle_checkpoint_request.parent(struct, call.path(root.resolve(request.parent)));
            }
            NativeStatistics statistics = NativeStatistics.allocate(call, NativeStatistics.CAPACITY);
            int code = RekindleNative.rekindle_checkpoint(
                    environment.write(call),
                    struct,
                    statistics.run(),
                    statistics.processes(),
                    statistics.capacity(),
                    call.error());
            if (code != RekindleNative.REKINDLE_OK()) {
                throw Failure.exception(Failure.Action.CHECKPOINT, code, call.error());
            }
            return statistics.decodeOrRead(work, RunKind.CHECKPOINT);
        }
    }

    RestoredProcess restore(RestoreRequest request, NativeOperation operation) {
        operation.enter();
        RestoredProcess process;
        try {
            Throwable thrown = request.hooks.callBefore();
            if (thrown != null) {
                throw new HookException("the restore did not begin", thrown, null, null);
            }
            process = reviveAndTell(request, operation);
        } catch (Throwable failure) {
            request.hooks.callFailed(failure);
            throw failure;
        }
        Throwable thrown = request.hooks.callAfter(process);
        if (thrown != null) {
            throw new HookException("process " + process.pid() + " is restored and runs", thrown, null, process);
        }
        return process;
    }

    private RestoredProcess reviveAndTell(RestoreRequest request, NativeOperation operation) {
        Path images = root.resolve(request.directory());
        RestoredTree process;
        var observation = observer.begin(new RunStart(RunKind.RESTORE, images, OptionalLong.empty()));
        try {
            process = revive(request, images, operation);
        } catch (Throwable failure) {
            observation.fail(told(failure));
            NativeOperation.rethrow(operation, failure);
            throw failure;
        }
        if (operation.isCancelled()) {
            // At the very end, by somebody or by a listener that threw: what was asked for is that there is no such
            // run.
            process.killAndAwait();
            RekindleException cancelled = Failure.of(
                            ErrorCode.CANCELLED,
                            "the restore was cancelled; process " + process.pid() + ", restored by then, was ended")
                    .exception(Failure.Action.RESTORE);
            observation.fail(cancelled);
            NativeOperation.rethrow(operation, cancelled);
            throw cancelled;
        }
        observation.end(process.pid(), process.statistics());
        return process;
    }

    private RestoredTree revive(RestoreRequest request, Path images, NativeOperation operation) {
        Path work = workDirectory(request.run, images);
        try (NativeCall call = NativeCall.begin()) {
            MemorySegment struct = call.zeroed(rekindle_restore_request.layout());
            rekindle_restore_request.structure_size(struct, (int) struct.byteSize());
            rekindle_restore_request.directory(struct, call.path(images));
            rekindle_restore_request.work_directory(struct, call.path(work));
            rekindle_restore_request.log_file(struct, call.string(request.run.logFile()));
            rekindle_restore_request.flags(struct, request.run.flagBits());
            rekindle_restore_request.log_level(struct, request.run.logLevel());
            rekindle_restore_request.argument_count(
                    struct, request.run.arguments().size());
            rekindle_restore_request.arguments(struct, call.strings(request.run.arguments()));
            rekindle_restore_request.operation(struct, NativeOperation.address(operation));
            rekindle_restore_request.device_map(struct, call.string(request.deviceMap));
            NativeStatistics statistics = NativeStatistics.allocate(call, NativeStatistics.CAPACITY);
            MemorySegment pid = call.allocate(ValueLayout.JAVA_INT);
            int code = RekindleNative.rekindle_restore(
                    environment.write(call),
                    struct,
                    pid,
                    statistics.run(),
                    statistics.processes(),
                    statistics.capacity(),
                    call.error());
            if (code != RekindleNative.REKINDLE_OK()) {
                throw Failure.exception(Failure.Action.RESTORE, code, call.error());
            }
            int root = pid.get(ValueLayout.JAVA_INT, 0);
            Optional<ProcessHandle> handle = ProcessHandle.of(root);
            return new RestoredTree(
                    root, statistics.decodeOrRead(work, RunKind.RESTORE), handle, RestoredChild.watch(root));
        }
    }

    /** As observers are told of it: an error, which nobody expects, goes on as it is, and theirs has it as its cause. */
    private static RuntimeException told(Throwable failure) {
        return failure instanceof RuntimeException unchecked
                ? unchecked
                : new IllegalStateException("the run ended in " + failure, failure);
    }

    /** Where logs and statistics go. */
    private Path workDirectory(RunRequest run, Path images) {
        Path named = run.workDirectory();
        return named == null ? images : root.resolve(named);
    }
}
