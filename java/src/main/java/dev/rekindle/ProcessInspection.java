// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import dev.rekindle.internal.ffi.rekindle_inspect_request;
import dev.rekindle.internal.ffi.rekindle_inspected_process;
import dev.rekindle.internal.ffi.rekindle_inspection;
import dev.rekindle.internal.ffi.rekindle_obstacle;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.stream.IntStream;

/**
 * What a tree of processes holds that runs: found without stopping any of it. Immutable, so any threads may use it.
 *
 * @param processes all processes of the tree, its root first
 * @param obstacles what of the kinds of obstacles is in the way of a dump
 * @param duration how long the look took
 */
public record ProcessInspection(List<InspectedProcess> processes, List<Obstacle> obstacles, Duration duration) {
    private static final int CAPACITY = 64;

    /**
     * Copies the lists, and checks that nothing is null.
     *
     * @param processes all processes of the tree, its root first
     * @param obstacles what of the kinds of obstacles is in the way of a dump
     * @param duration how long the look took
     */
    public ProcessInspection {
        processes = List.copyOf(Objects.requireNonNull(processes, "processes"));
        obstacles = List.copyOf(Objects.requireNonNull(obstacles, "obstacles"));
        Objects.requireNonNull(duration, "duration");
    }

    static ProcessInspection of(NativeEnvironment environment, CheckpointRequest request) {
        int capacity = CAPACITY;
        while (true) {
            try (NativeCall call = NativeCall.begin()) {
                MemorySegment struct = call.zeroed(rekindle_inspect_request.layout());
                rekindle_inspect_request.structure_size(struct, (int) struct.byteSize());
                rekindle_inspect_request.pid(struct, request.pid);
                rekindle_inspect_request.flags(struct, request.run.flagBits());
                rekindle_inspect_request.argument_count(
                        struct, request.run.arguments().size());
                rekindle_inspect_request.arguments(struct, call.strings(request.run.arguments()));
                MemorySegment inspection = call.zeroed(rekindle_inspection.layout());
                MemorySegment processes = call.array(rekindle_inspected_process.layout(), capacity);
                MemorySegment obstacles = call.array(rekindle_obstacle.layout(), capacity);
                int code = RekindleNative.rekindle_inspect_process(
                        environment.write(call),
                        struct,
                        inspection,
                        processes,
                        capacity,
                        obstacles,
                        capacity,
                        call.error());
                if (code != RekindleNative.REKINDLE_OK()) {
                    throw Failure.exception(Failure.Action.CHECKPOINT, code, call.error());
                }
                int most = Math.max(
                        rekindle_inspection.process_count(inspection), rekindle_inspection.obstacle_count(inspection));
                if (most <= capacity) {
                    return decode(inspection, processes, obstacles);
                }
                capacity = most;
            }
        }
    }

    private static ProcessInspection decode(
            MemorySegment inspection, MemorySegment processes, MemorySegment obstacles) {
        return new ProcessInspection(
                IntStream.range(0, rekindle_inspection.process_count(inspection))
                        .mapToObj(i -> process(rekindle_inspected_process.asSlice(processes, i)))
                        .toList(),
                IntStream.range(0, rekindle_inspection.obstacle_count(inspection))
                        .mapToObj(i -> obstacle(rekindle_obstacle.asSlice(obstacles, i)))
                        .toList(),
                Duration.ofNanos(rekindle_inspection.duration(inspection)));
    }

    private static InspectedProcess process(MemorySegment process) {
        return new InspectedProcess(
                rekindle_inspected_process.pid(process),
                rekindle_inspected_process.parent_pid(process),
                rekindle_inspected_process.name(process).getString(0),
                rekindle_inspected_process.threads(process),
                CudaState.of(rekindle_inspected_process.cuda_state(process)),
                AgentState.of(rekindle_inspected_process.agent_state(process)),
                Absent.unlessText(rekindle_inspected_process.agent_note(process)));
    }

    private static Obstacle obstacle(MemorySegment obstacle) {
        return new Obstacle(
                ObstacleKind.of(rekindle_obstacle.kind(obstacle)),
                rekindle_obstacle.pid(obstacle),
                rekindle_obstacle.what(obstacle).getString(0),
                rekindle_obstacle.remedy(obstacle).getString(0));
    }
}
