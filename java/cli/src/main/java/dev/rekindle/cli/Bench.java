// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.ErrorCode;
import dev.rekindle.RekindleException;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** Rounds in which each side brings a service up, and the time that this takes. The sides take turns in being first. */
final class Bench {
    private static final Duration END_LIMIT = Duration.ofSeconds(30);

    private final HealthCheck health;
    private final Namespaces namespaces;
    private final ColdCaches cold;
    private final int settleSeconds;
    private final List<Measured> sides;
    private final TreeSet<String> notCold = new TreeSet<>();
    /** The root of what runs now, to be ended whatever happens. */
    private long running;

    /** A side, and what has come of it. */
    private static final class Measured {
        private final BenchResult.Side side;
        private final BenchSide way;
        private final List<Duration> runs = new ArrayList<>();
        private String failure = "";

        Measured(BenchResult.Side side, BenchSide way) {
            this.side = side;
            this.way = way;
        }
    }

    /** Makes the caches cold before a side begins, and returns why one is not. */
    interface ColdCaches {
        Optional<String> make(BenchSide side) throws IOException;
    }

    Bench(
            HealthCheck health,
            Namespaces namespaces,
            ColdCaches cold,
            int settleSeconds,
            Map<BenchResult.Side, BenchSide> sides) {
        this.health = health;
        this.namespaces = namespaces;
        this.cold = cold;
        this.settleSeconds = settleSeconds;
        this.sides = sides.entrySet().stream()
                .map(entry -> new Measured(entry.getKey(), entry.getValue()))
                .toList();
    }

    /** Starts the program for each side that needs a checkpoint of it, which is not measured. */
    void dump() throws IOException, InterruptedException {
        for (Measured measured : sides) {
            if (measured.way instanceof BenchSide.Images images) {
                bring(sides.getFirst().way);
                try {
                    images.dump(running);
                    long pid = running;
                    running = 0;
                    ProcessStat.awaitEnd(pid, END_LIMIT);
                } catch (CommandException failure) {
                    giveUp(measured, failure);
                }
            }
        }
    }

    void round(int number) throws IOException, InterruptedException {
        List<Measured> order = new ArrayList<>(sides);
        Collections.rotate(order, -number);
        for (Measured measured : order) {
            if (measured.failure.isEmpty()) {
                try {
                    ProcessStat.awaitCollection(measured.way.pids(), END_LIMIT);
                    Thread.sleep(Duration.ofSeconds(settleSeconds));
                    cold.make(measured.way).ifPresent(notCold::add);
                    measured.runs.add(bring(measured.way));
                    end();
                } catch (CommandException failure) {
                    giveUp(measured, failure);
                }
            }
        }
    }

    /** Stock CRIU may not be able to do it; without the others there is nothing to compare. */
    private void giveUp(Measured measured, CommandException failure) throws InterruptedException {
        if (measured.side != BenchResult.Side.STOCK) {
            throw failure;
        }
        measured.failure = RekindleCommand.sentence(failure);
        end();
    }

    /** Returns how long it took until it was well. */
    private Duration bring(BenchSide way) throws IOException, InterruptedException {
        if (health.isWell()) {
            throw new CommandException(
                    ErrorCode.BUSY, "the service is well before it was started: end the one that runs already");
        }
        long start = System.nanoTime();
        long pid = way.begin();
        running = pid;
        boolean well = health.await(command -> namespaces.shell(command, pid), () -> ProcessStat.runs(pid))
                .isPresent();
        Duration took = Duration.ofNanos(System.nanoTime() - start);
        if (!well) {
            throw new CommandException(ErrorCode.TIMEOUT, "the service did not get well, or ended: see " + way.log());
        }
        return took;
    }

    /** Ends what runs, if anything does. */
    void end() throws InterruptedException {
        long pid = running;
        running = 0;
        boolean interrupted = Thread.interrupted(); // which it is waited for all the same
        if (pid > 0) {
            List<ProcessHandle> all = ProcessHandle.of(pid).stream()
                    .flatMap(root -> Stream.concat(Stream.of(root), root.descendants()))
                    .toList();
            all.forEach(ProcessHandle::destroyForcibly);
            for (ProcessHandle process : all) {
                ProcessStat.awaitEnd(process.pid(), END_LIMIT);
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    List<String> notCold() {
        return List.copyOf(notCold);
    }

    List<BenchResult.SideResult> results() {
        Optional<Duration> ours = sides.stream()
                .filter(measured -> measured.side == BenchResult.Side.REKINDLE)
                .flatMap(measured -> Optional.ofNullable(BenchResult.summary(measured.runs, Optional.empty())).stream())
                .map(BenchResult.Summary::medianSeconds)
                .findFirst();
        return sides.stream()
                .map(measured -> new BenchResult.SideResult(
                        measured.side,
                        List.copyOf(measured.runs),
                        BenchResult.summary(measured.runs, ours),
                        measured.failure,
                        measured.runs.isEmpty() ? null : lastRun(measured.way)))
                .toList();
    }

    private static @Nullable RunView lastRun(BenchSide side) {
        try {
            return side.lastRun().orElse(null);
        } catch (RekindleException none) {
            return null; // CRIU has left no statistics
        }
    }
}
