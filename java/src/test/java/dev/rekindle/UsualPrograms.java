// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.io.File;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.TimeUnit;

/** The programs of README.md, as they stand there: README.md takes what is between the marks. */
final class UsualPrograms {
    private UsualPrograms() {}

    // begin: prepare
    static Process startReady(Rekindle rekindle) throws IOException {
        return rekindle.prepare(new ProcessBuilder("python3", "serve.py")
                        .redirectErrorStream(true)
                        .redirectOutput(new File("serve.log")))
                .start();
    }
    // end: prepare

    // begin: checkpoint-and-restore
    static long checkpointAndRestore(Rekindle.Builder settings, ProcessHandle process, Path images) throws Exception {
        try (Rekindle rekindle = settings.build()) {
            CheckpointResult dumped = rekindle.checkpoint(CheckpointRequest.builder(process, images)
                    .timeout(Duration.ofSeconds(60))
                    .build());
            System.out.printf(
                    "%d MiB of device memory in %d ms%n",
                    dumped.statistics().deviceBytes() >> 20,
                    dumped.statistics().duration().toMillis());
            process.onExit().get(10, TimeUnit.SECONDS); // its process id has to be free again

            RestoredProcess restored = rekindle.restore(RestoreRequest.of(images));
            return restored.pid();
        }
    }
    // end: checkpoint-and-restore

    // begin: warm-pool
    static RestoredProcess restoreFromWarmPool(Rekindle.Builder settings, Path images) {
        try (Rekindle rekindle = settings.build();
                WarmPool pool = rekindle.openPool()) { // contexts and copy buffers stay warm while it is open
            pool.prefetch(images); // device memory is filled from now on
            try (ContextLease lease = pool.acquire(0)) {
                System.out.printf("context %x of device %d is warm%n", lease.context(), lease.device());
            }
            return rekindle.restore(RestoreRequest.of(images));
        }
    }
    // end: warm-pool

    // begin: progress-and-cancel
    static Run<CheckpointResult> snapshotWhileItRuns(Rekindle rekindle, long pid, Path images) {
        return rekindle.checkpointAsync(CheckpointRequest.builder(pid, images)
                .leaveRunning(true)
                .beforeCheckpoint(() -> System.out.println("no new requests from here"))
                .afterCheckpoint(result -> System.out.println("requests again"))
                .afterFailedCheckpoint(() -> System.out.println("requests again"))
                .build());
    }

    static CheckpointResult watch(Run<CheckpointResult> run) throws InterruptedException {
        while (!run.ended().isDone()) { // run.cancel() would stop CRIU, and the process would go on
            Progress progress = run.progress();
            System.out.printf("%s: %d of %d bytes%n", progress.phase(), progress.bytesDone(), progress.bytesTotal());
            Thread.sleep(100);
        }
        return run.await();
    }
    // end: progress-and-cancel

    // begin: inspect
    static void inspect(Path images) {
        CheckpointImage image = CheckpointImage.open(images);
        System.out.printf(
                "made with CRIU %s (%s)%n", image.criuVersion().orElse("of unknown version"), image.created());
        for (ImageProcess process : image.processes()) {
            System.out.printf("%d %s: %d bytes on the device%n", process.pid(), process.name(), process.deviceBytes());
        }
        System.out.printf("%d bytes have the right checksums%n", image.verify());
    }
    // end: inspect

    // begin: failures
    static String explain(Rekindle rekindle, Path images) {
        try {
            return "runs as " + rekindle.restore(RestoreRequest.of(images)).pid();
        } catch (RekindleException failure) {
            return switch (failure) {
                case NoImageException none -> "name another folder: " + none.getMessage();
                case CorruptImageException corrupt -> "take the checkpoint again: " + corrupt.getMessage();
                case IncompatibleException other -> "restore it elsewhere: " + other.getMessage();
                case PermissionException denied -> "run as root: " + denied.getMessage();
                case BusyException other -> "try it again later: " + other.getMessage();
                case PidInUseException other -> "end the other process first: " + other.getMessage();
                case RestoreException restore -> restore.getMessage() + "\n" + restore.criuLog();
                case CheckpointException _, PoolException _, NativeLibraryException _ -> failure.getMessage();
            };
        }
    }
    // end: failures
}
