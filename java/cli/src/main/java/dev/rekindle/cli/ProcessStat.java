// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * What the kernel says of a process.
 *
 * @param state a letter, Z for one that has ended and that its parent has not collected
 * @param session whose leader has this pid
 * @param start in ticks since the machine started, as another process may have the pid later
 */
record ProcessStat(String state, long session, String start) {
    private static final int PAUSE_MILLISECONDS = 5;

    /** The second field may have blanks and parentheses; the state is the third, the session the 6th, the start the 22nd. */
    static Optional<ProcessStat> of(long pid) {
        try {
            String stat = Files.readString(Path.of("/proc/" + pid + "/stat"), StandardCharsets.ISO_8859_1);
            List<String> fields =
                    List.of(stat.substring(stat.lastIndexOf(')') + 2).split(" ", -1));
            return Optional.of(new ProcessStat(fields.getFirst(), Long.parseLong(fields.get(3)), fields.get(19)));
        } catch (IOException gone) {
            return Optional.empty();
        }
    }

    /** Waits until nothing of a process is left, or nothing but its pid, which is its parent's to free. Returns whether so. */
    static boolean awaitEnd(long pid, Duration limit) throws InterruptedException {
        Optional<String> start = of(pid).map(ProcessStat::start);
        long end = System.nanoTime() + limit.toNanos();
        while (true) {
            Optional<ProcessStat> now = of(pid);
            if (now.isEmpty()
                    || !now.map(ProcessStat::start).equals(start)
                    || now.get().hasEnded(pid)) {
                return true;
            }
            if (System.nanoTime() > end) {
                return false;
            }
            Thread.sleep(PAUSE_MILLISECONDS);
        }
    }

    /** Waits until processes that have ended are collected, so that their pids are free. Returns whether it was of any use. */
    static boolean awaitCollection(List<Long> pids, Duration limit) throws InterruptedException {
        List<Long> ended = pids.stream().filter(ProcessStat::isUncollected).toList();
        long end = System.nanoTime() + limit.toNanos();
        while (ended.stream().anyMatch(ProcessStat::isUncollected)) {
            if (System.nanoTime() > end) {
                return false;
            }
            Thread.sleep(PAUSE_MILLISECONDS);
        }
        return !ended.isEmpty();
    }

    static boolean runs(long pid) {
        return of(pid).filter(stat -> !stat.hasEnded(pid)).isPresent();
    }

    /** The processes that run in a session. */
    static List<ProcessHandle> ofSession(long session) {
        return ProcessHandle.allProcesses()
                .filter(process -> of(process.pid())
                        .filter(stat -> stat.session() == session && !stat.hasEnded(process.pid()))
                        .isPresent())
                .toList();
    }

    /** The process that has an id, for itself or for one of its threads, unless it has ended. */
    static Optional<Long> holder(long id) {
        return Machine.line("/proc/" + id + "/status", "Tgid:")
                .map(String::strip)
                .map(Long::parseLong)
                .filter(ProcessStat::runs);
    }

    private static boolean isUncollected(long pid) {
        return of(pid).filter(stat -> stat.hasEnded(pid)).isPresent();
    }

    /** The first thread may end before others, which still hold its memory. */
    private boolean hasEnded(long pid) {
        if (!state.equals("Z") && !state.equals("X")) {
            return false;
        }
        try (Stream<Path> threads = Files.list(Path.of("/proc/" + pid + "/task"))) {
            return threads.limit(2).count() < 2;
        } catch (IOException gone) {
            return true;
        }
    }
}
