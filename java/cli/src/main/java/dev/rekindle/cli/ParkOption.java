// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.CheckpointRequest;
import dev.rekindle.Park;
import dev.rekindle.RunStatistics;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** Where a dump leaves device memory. */
final class ParkOption {
    @Option(
            names = "--park",
            paramLabel = "WHERE",
            description =
                    "Where device memory stays for the next restore, beside the images: file (nowhere else), device"
                            + " (in a pool that lasts, until something else needs the room), pinned (in pinned memory of"
                            + " such a pool, as far as its REKINDLE_PINNED_BUDGET has room) or ephemeral (as device, and in"
                            + " no file: lost with that pool, and for one restore). Default: REKINDLE_PARK.")
    private @Nullable Park park;

    /** Whether it is to stay in a pool. */
    boolean inPool() {
        return park != null && park != Park.FILE;
    }

    void apply(CheckpointRequest.Builder request) {
        if (park != null) {
            request.park(park);
        }
    }

    /** Whoever asks for it hears that it is not so; why is in the log. */
    void note(RunStatistics run, Output output) {
        if (inPool() && run.deviceBytes() > 0 && run.residentBytes() == 0) {
            output.note("rekindle: no device memory is parked; dump.log says why");
        }
    }
}
