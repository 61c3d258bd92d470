// SPDX-License-Identifier: MIT
package dev.rekindle;

import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** What the log says of runs: it is an observer like others, for loggers can be set up to throw. */
final class RunLog {
    private static final Logger LOGGER = LoggerFactory.getLogger(Rekindle.class);

    private RunLog() {}

    static RunObserver.Observation begin(RunStart run) {
        return new RunObserver.Observation() {
            @Override
            public void end(long pid, RunStatistics statistics) {
                String what =
                        run.kind() == RunKind.CHECKPOINT ? "checkpoint of {} to {}: {}" : "restore of {} from {}: {}";
                LOGGER.debug(what, pid, run.directory(), statistics);
            }
        };
    }
}
