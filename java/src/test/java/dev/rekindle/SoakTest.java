// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What must not grow with the number of checkpoints and restores in one JVM. */
@Tag("soak")
class SoakTest {
    private static final int CYCLES = Integer.getInteger("soak.cycles", 200);
    /** After these everything is loaded, compiled and pooled that will be. */
    private static final int WARM_UP = 60;

    @TempDir
    private Path folder;

    private record Use(long descriptors, long threads, long mappings, long residentKibibytes) {
        static Use now() throws IOException {
            System.gc();
            long resident = Files.readAllLines(Path.of("/proc/self/status")).stream()
                    .filter(line -> line.startsWith("VmRSS:"))
                    .mapToLong(line -> Long.parseLong(line.replaceAll("\\D", "")))
                    .findFirst()
                    .orElseThrow();
            return new Use(
                    count(Path.of("/proc/self/fd")),
                    count(Path.of("/proc/self/task")),
                    Files.readAllLines(Path.of("/proc/self/maps")).size(),
                    resident);
        }

        static Use parse(String line) {
            String[] numbers = line.replaceAll("[^\\d ]", " ").strip().split(" +", -1);
            return new Use(
                    Long.parseLong(numbers[0]),
                    Long.parseLong(numbers[1]),
                    Long.parseLong(numbers[2]),
                    Long.parseLong(numbers[3]));
        }

        private static long count(Path directory) throws IOException {
            try (Stream<Path> entries = Files.list(directory)) {
                return entries.count();
            }
        }
    }

    /** The cycles, in a JVM that does nothing else and whose heap does not grow. */
    static final class Cycles {
        public static void main(String[] arguments) throws Exception {
            Path folder = Path.of(arguments[0]);
            try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                    WarmPool pool = rekindle.openPool();
                    Worker worker = Worker.start(folder, "worker", "--mib", "4", "--pieces", "2")) {
                String before = worker.checksum();
                for (int cycle = 1; cycle <= CYCLES; cycle++) {
                    cycle(rekindle, pool, worker, folder.resolve("images" + cycle % 2), cycle % 2 == 0);
                    if (cycle >= WARM_UP && cycle % 20 == 0) {
                        System.out.println("use " + Use.now());
                    }
                }
                System.out.println("contents " + worker.checksum().equals(before));
            }
        }

        private static void cycle(Rekindle rekindle, WarmPool pool, Worker worker, Path images, boolean leaveRunning) {
            rekindle.checkpoint(CheckpointRequest.builder(worker.pid(), images)
                    .progress((done, total, phase) -> {})
                    .leaveRunning(leaveRunning)
                    .build());
            if (!leaveRunning) {
                worker.awaitEnd();
                rekindle.restoreAsync(RestoreRequest.builder(images)
                                .progress((done, total, phase) -> {})
                                .build())
                        .join();
            }
            pool.acquire(0).close();
            CheckpointImage.open(images);
        }
    }

    @Test
    void nothingGrows() throws Exception {
        ChildJvm.Output output = ChildJvm.runIsolated(
                Cycles.class,
                List.of(
                        "-Xms64m",
                        "-Xmx64m",
                        "-XX:+AlwaysPreTouch",
                        "-XX:+UseSerialGC",
                        // The second compiler takes and gives back megabytes as it likes.
                        "-XX:TieredStopAtLevel=1",
                        "--enable-native-access=ALL-UNNAMED",
                        "--illegal-native-access=deny",
                        "-Drekindle.library.path=" + TestMachine.LIBRARY_FOLDER,
                        "-Drekindle.native.build=" + TestMachine.NATIVE,
                        "-Drekindle.native.source=" + System.getProperty("rekindle.native.source")),
                folder.toString());
        assertThat(output.exitCode()).as(output.text()).isZero();
        assertThat(output.text()).contains("contents true");
        List<Use> uses = output.text()
                .lines()
                .filter(line -> line.startsWith("use "))
                .map(Use::parse)
                .toList();
        assertThat(uses).hasSize(1 + (CYCLES - WARM_UP) / 20);
        Use warm = uses.getFirst();
        Use end = uses.getLast();
        assertThat(end.descriptors()).isLessThanOrEqualTo(warm.descriptors());
        assertThat(end.threads()).isLessThanOrEqualTo(warm.threads() + 1);
        assertThat(end.mappings()).isLessThanOrEqualTo(warm.mappings() + 16);
        assertThat(end.residentKibibytes()).isLessThanOrEqualTo(warm.residentKibibytes() + 8 * 1024);
    }
}
