// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.util.concurrent.CountDownLatch;

/**
 * When a signal ends the JVM (Ctrl-C, SIGTERM), the library cancels the run that is under way. The JVM would not wait until
 * the command has said what became of it: this does.
 */
final class SignalledEnd {
    private final CountDownLatch ended = new CountDownLatch(1);
    private final Thread command;
    private volatile int status = ExitStatus.FAILED;

    private SignalledEnd(Thread command) {
        this.command = command;
    }

    /** From now on, the JVM does not end before the command on this thread has. */
    static SignalledEnd await() {
        var end = new SignalledEnd(Thread.currentThread());
        Runtime.getRuntime().addShutdownHook(new Thread(end::awaitCommand));
        return end;
    }

    /** The command has said what there is to say. */
    void commandEnded(int exitStatus) {
        status = exitStatus;
        ended.countDown();
    }

    private void awaitCommand() {
        if (ended.getCount() == 0) {
            return; // it ends by itself
        }
        command.interrupt(); // where it waits for something else than a run
        try {
            ended.await();
        } catch (InterruptedException never) {
            return;
        }
        if (status == 0) {
            // It was complete before it could be cancelled. Whoever reads the status must not think otherwise.
            Runtime.getRuntime().halt(0);
        }
    }
}
