// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The observers of a handle, Java Flight Recorder the first of them, as one that throws nothing. */
final class Observers implements RunObserver {
    private static final Logger LOGGER = LoggerFactory.getLogger(RunObserver.class);

    private final List<RunObserver> all = new ArrayList<>();

    Observers(List<RunObserver> others) {
        all.add(RunEvents::begin);
        all.addAll(others);
    }

    @Override
    public Observation begin(RunStart run) {
        var each = new ArrayList<Observation>(all.size());
        for (RunObserver observer : all) {
            guard(observer, own -> each.add(own.begin(run)));
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

    private static <T> void guard(T observer, Consumer<T> call) {
        try {
            call.accept(observer);
        } catch (RuntimeException failure) {
            LOGGER.warn("{} has failed, and the run goes on", observer, failure);
        }
    }
}
