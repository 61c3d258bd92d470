// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

/** Statistics as native code has told them. */
record RecordedRun(
        RunKind kind,
        Optional<String> failure,
        Duration duration,
        long deviceBytes,
        long hostBytes,
        long imageBytes,
        long linkedBytes,
        long residentBytes,
        Duration overlap,
        boolean poolWarm,
        boolean simulated,
        OptionalInt driverVersion,
        Optional<String> gpuName,
        Optional<String> criuVersion,
        OptionalInt restoreThreads,
        CriuStatistics criu,
        List<ProcessStatistics> processes)
        implements RunStatistics {
    RecordedRun {
        processes = List.copyOf(processes);
    }
}
