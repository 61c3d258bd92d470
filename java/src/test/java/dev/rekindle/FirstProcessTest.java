// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A JVM that is process 1 of its pid namespace, as in a container: what it restores becomes its child. */
class FirstProcessTest {
    @TempDir
    private Path folder;

    static final class Life {
        public static void main(String[] arguments) throws Exception {
            Path folder = Path.of(arguments[0]);
            Path images = folder.resolve("images");
            try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                    Worker worker = Worker.start(folder, "worker", "--children", "1")) {
                System.out.println("pid " + ProcessHandle.current().pid());
                String before = worker.checksum();
                // The root is a child that the JDK waits for, and the child below it an orphan.
                rekindle.checkpoint(CheckpointRequest.of(worker.pid(), images));
                worker.awaitEnd();
                for (int i = 0; i < 3; i++) {
                    RestoredProcess restored = rekindle.restore(RestoreRequest.of(images));
                    System.out.println("contents " + worker.checksum().equals(before));
                    System.out.println("status " + restored.exitStatus());
                    var exit = restored.onExit();
                    worker.close();
                    exit.get(30, TimeUnit.SECONDS);
                    System.out.println("status " + restored.exitStatus());
                }

                // A dump of what was restored, and a restore of that.
                rekindle.restore(RestoreRequest.of(images));
                rekindle.checkpoint(CheckpointRequest.of(worker.pid(), folder.resolve("again")));
                worker.awaitEnd();

                // A restore that fails, and one that is cancelled, leave nothing that would be in the way of the next.
                damage(images);
                try {
                    rekindle.restore(RestoreRequest.of(images));
                } catch (CorruptImageException expected) {
                    System.out.println("failed");
                }
                worker.awaitEnd();
                cancelled(rekindle, folder.resolve("again"), worker);
                worker.awaitEnd();

                RestoredProcess last = rekindle.restore(RestoreRequest.of(folder.resolve("again")));
                System.out.println("contents " + worker.checksum().equals(before));
                try {
                    rekindle.restore(RestoreRequest.of(folder.resolve("again")));
                } catch (PidInUseException expected) {
                    System.out.println("in use: " + expected.getMessage());
                }
                ((RestoredTree) last).kill();
                // At once: it is waited for, and its ids are free again.
                last = rekindle.restore(RestoreRequest.of(folder.resolve("again")));
                // A container allows so many threads, and the restored tree may have taken the last ones.
                System.out.println("without a thread "
                        + RestoredChild.watch((int) last.pid(), waiting -> {
                            throw new OutOfMemoryError("unable to create native thread");
                        }));
                System.out.println("contents " + worker.checksum().equals(before));

                // Other children are the JDK's.
                Process other = new ProcessBuilder("sh", "-c", "exit 3").start();
                Process zombie = new ProcessBuilder("sh", "-c", "sleep 0.2; exit 4").start();
                ((RestoredTree) last).kill();
                last.onExit().get(30, TimeUnit.SECONDS);
                System.out.println("others " + other.waitFor() + " " + zombie.waitFor());
                // Nor does a pool that was started for a run stay as a zombie.
                Worker.await(
                        "zombies to be gone",
                        () -> ProcessHandle.current().children().noneMatch(child -> isZombie(child.pid())));
            }
        }

        private static boolean isZombie(long pid) {
            try {
                return Files.readString(Path.of("/proc/" + pid + "/stat")).contains(") Z ");
            } catch (IOException gone) {
                return false;
            }
        }

        private static void damage(Path images) throws Exception {
            Path data;
            try (var files = Files.list(images)) {
                data = files.filter(file -> file.getFileName().toString().matches("rekindle-pages-.*img"))
                        .findFirst()
                        .orElseThrow();
            }
            try (RandomAccessFile file = new RandomAccessFile(data.toFile(), "rw")) {
                file.seek(3 << 20);
                int value = file.read();
                file.seek(3 << 20);
                file.write(value ^ 0x80);
            }
        }

        private static void cancelled(Rekindle rekindle, Path images, Worker worker) throws Exception {
            worker.inject("cuMemMap=300ms");
            var mapping = new CountDownLatch(1);
            Run<RestoredProcess> run = rekindle.restoreAsync(RestoreRequest.builder(images)
                    .progress((done, total, phase) -> {
                        if (phase == PhaseKind.MAP) {
                            mapping.countDown();
                        }
                    })
                    .build());
            if (!mapping.await(30, TimeUnit.SECONDS)) {
                throw new IllegalStateException("it maps no memory");
            }
            run.cancel();
            run.ended().get(60, TimeUnit.SECONDS);
            System.out.println("cancelled "
                    + run.result().handle((process, failure) -> failure != null).get(60, TimeUnit.SECONDS));
            worker.inject();
        }
    }

    @Test
    void whatWasRestoredIsWaitedForAndNothingElse() throws Exception {
        ChildJvm.Output output = ChildJvm.runAsFirstProcess(Life.class, Map.of(), folder.toString());
        assertThat(output.exitCode()).as(output.text()).isZero();
        assertThat(output.text().lines().filter(line -> !line.startsWith("in use: ")))
                .containsExactly(
                        "pid 1",
                        "contents true",
                        "status OptionalInt.empty",
                        "status OptionalInt[137]",
                        "contents true",
                        "status OptionalInt.empty",
                        "status OptionalInt[137]",
                        "contents true",
                        "status OptionalInt.empty",
                        "status OptionalInt[137]",
                        "failed",
                        "cancelled true",
                        "contents true",
                        "without a thread Optional.empty",
                        "contents true",
                        "others 3 4");
        assertThat(output.text()).containsPattern("in use: .*in use by process \\d+ \\(rekindle-worker\\), which runs");
    }
}
