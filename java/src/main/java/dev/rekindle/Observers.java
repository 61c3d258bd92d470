// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The observers of a handle, Java Flight Recorder and the log the first of them, as one that throws nothing. */
final class Observers implements RunObserver {
    private static final Logger LOGGER = LoggerFactory.getLogger(RunObserver.class);

    private final List<RunObserver> all = new ArrayList<>();

    Observers(List<RunObserver> others) {
        all.add(RunEvents::begin);
        all.add(RunLog::begin);
        all.addAll(others);
    }

    @Override
    public Observation begin(RunStart run) {
        var each = new ArrayList<Observation>(all.size());
        for (RunObserver observer : all) {
            guard(observer, own -> each.add(Objects.requireNonNull(own.begin(run), "it gave no observation")));
        }
        return new Observation() {
            @Override
            public void end(long pid, RunStatistics statistics) {
                for (Observation observation : each) {
                    guard(observation, own -> {
                        for (ProcessStatistics process : statistics.processes()) {
                            process.phases().forEach(phase -> own.phase(process.pid(), phase));
                        }
                    });
                    guard(observation, own -> own.end(pid, statistics));
                }
            }

            @Override
            public void fail(RuntimeException failure) {
                each.forEach(observation -> guard(observation, own -> own.fail(failure)));
            }
        };
    }

    /** Errors too, and what another language throws undeclared: the caller must not lose the process of the run for them. */
    private static <T> void guard(T observer, Consumer<T> call) {
        try {
            call.accept(observer);
        } catch (Throwable failure) {
            warn(observer, failure);
        }
    }

    private static void warn(Object observer, Throwable failure) {
        try {
            LOGGER.warn("{} has failed, and the run goes on", observer, failure);
        } catch (Throwable unsaid) {
            // Loggers can be set up to throw, and what an observer is called is its own code.
        }
    }
}
