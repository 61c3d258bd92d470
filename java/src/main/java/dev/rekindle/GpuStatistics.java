// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * What the processes of a run have on one GPU of the machine of the dump, see {@link CheckpointImage#statistics}. Immutable,
 * so any threads may use it.
 *
 * @param use what they have on it together
 * @param processes those of them that have device memory outside their images on it. The phases of a process are timed
 *     for all of its GPUs together, and so are its sizes here: {@link ImageProcess#gpus} has those for each GPU
 */
public record GpuStatistics(GpuUse use, List<ProcessStatistics> processes) {
    /**
     * Copies the list, and checks that nothing is null.
     *
     * @param use what they have on it together
     * @param processes those of them that have device memory outside their images on it
     */
    public GpuStatistics {
        Objects.requireNonNull(use, "use");
        processes = List.copyOf(Objects.requireNonNull(processes, "processes"));
    }

    static List<GpuStatistics> of(CheckpointImage image, RunStatistics run) {
        Map<Long, Set<String>> gpus = run.processes().stream()
                .collect(Collectors.toMap(ProcessStatistics::pid, process -> uuids(image, process)));
        return image.gpus().stream()
                .map(use -> new GpuStatistics(
                        use,
                        run.processes().stream()
                                .filter(process -> gpus.getOrDefault(process.pid(), Set.of())
                                        .contains(use.uuid()))
                                .toList()))
                .toList();
    }

    /**
     * The GPUs of a process of the run. Its pid alone does not say that it is the one in the image, which may be numbered
     * in another pid namespace.
     */
    private static Set<String> uuids(CheckpointImage image, ProcessStatistics process) {
        return image.processes().stream()
                .filter(other -> other.pid() == process.pid()
                        && other.deviceBytes() == process.deviceBytes()
                        && other.allocations() == process.allocations())
                .findFirst()
                .orElseThrow(() -> new IllegalArgumentException(
                        "process %d of the run, with %d bytes of device memory in %d allocations, is not in %s"
                                .formatted(
                                        process.pid(),
                                        process.deviceBytes(),
                                        process.allocations(),
                                        image.directory())))
                .gpus()
                .stream()
                .filter(use -> use.allocations() > 0)
                .map(GpuUse::uuid)
                .collect(Collectors.toSet());
    }
}
