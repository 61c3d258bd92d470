// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.ErrorCode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Stream;
import picocli.CommandLine.Option;

/** What a program that is started has to itself. */
final class Namespaces {
    private static final int ATTEMPTS = 500;
    private static final int PAUSE_MILLISECONDS = 10;

    @Option(
            names = "--pid-namespace",
            description = "With process ids of its own, so that it can be restored beside others, and many times.")
    private boolean pids;

    @Option(
            names = "--net-namespace",
            description = "With a network of its own, loopback only, so that its ports are free when it is restored.")
    private boolean network;

    boolean pids() {
        return pids;
    }

    boolean network() {
        return network;
    }

    /**
     * A session leader outside of the pid namespace could not be restored, so it has its own there. Elsewhere the one that
     * it was started with does: a second setsid would fork, and leave the program with a pid that nobody knows.
     */
    List<String> words(List<String> command) {
        var all = new ArrayList<String>();
        if (pids || network) {
            all.add("unshare");
            if (network) {
                all.add("--net");
            }
            if (pids) {
                // Not --kill-child: that signal would come back with the process, whose parent, criu, then ends.
                all.addAll(List.of("--pid", "--fork"));
            }
            if (network) {
                all.addAll(List.of("sh", "-c", "ip link set lo up && exec \"$@\"", "sh"));
            }
            if (pids) {
                all.add("setsid");
            }
        }
        all.addAll(command);
        return all;
    }

    /** The program's, once what was started with these words has made it. The output is where it says why it did not. */
    long pid(Process starter, Path output) throws InterruptedException {
        if (!pids) {
            return starter.pid();
        }
        try {
            for (int i = 0; i < ATTEMPTS; i++) {
                Optional<ProcessHandle> child = starter.children().findFirst();
                if (child.isPresent()) {
                    return child.get().pid();
                }
                if (starter.waitFor(PAUSE_MILLISECONDS, TimeUnit.MILLISECONDS)) {
                    break;
                }
            }
        } catch (InterruptedException end) {
            end(starter);
            throw end;
        }
        end(starter);
        throw new CommandException(
                ErrorCode.NO_SUCH_PROCESS, "the program did not start in its namespaces: " + output + " says why");
    }

    /** Ends it and all that it has started, which nobody else knows of. It leads a session. */
    static void end(Process starter) {
        starter.descendants().forEach(ProcessHandle::destroyForcibly);
        starter.destroyForcibly();
        // What it has started meanwhile has another parent by now, and is still of its session.
        List<ProcessHandle> left = ProcessStat.ofSession(starter.pid());
        for (int i = 0; i < ATTEMPTS && !left.isEmpty(); i++) {
            left.forEach(ProcessHandle::destroyForcibly);
            LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(PAUSE_MILLISECONDS));
            left = ProcessStat.ofSession(starter.pid());
        }
    }

    /** A shell command, in the network of a process where that is its own. */
    List<String> shell(String command, long pid) {
        List<String> shell = List.of("sh", "-c", command);
        return network
                ? Stream.concat(Stream.of("nsenter", "--net", "--target", String.valueOf(pid)), shell.stream())
                        .toList()
                : shell;
    }
}
