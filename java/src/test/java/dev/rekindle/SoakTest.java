// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.function.ToLongFunction;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What must not grow with the number of checkpoints and restores in one JVM. */
@Tag("soak")
class SoakTest {
    private static final int CYCLES = Integer.getInteger("soak.cycles", 200);
    /** How often is looked: some forty times, and after the last cycle in any case. */
    private static final int STEP = Math.max(1, CYCLES / 40);

    @TempDir(factory = MemoryFolders.class)
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
            // The property of the tests' JVM is not this one's.
            int cycles = Integer.parseInt(arguments[1]);
            int step = Integer.parseInt(arguments[2]);
            try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                    WarmPool pool = rekindle.openPool();
                    Worker worker = Worker.start(folder, "worker", "--mib", "4", "--pieces", "2")) {
                String before = worker.checksum();
                for (int cycle = 1; cycle <= cycles; cycle++) {
                    Path images = folder.resolve("images" + cycle % 2);
                    if (cycle % 10 == 0) {
                        checkpoint(rekindle, worker, images, true);
                    }
                    cycle(rekindle, pool, worker, images);
                    if (cycle % step == 0 || cycle == cycles) {
                        System.out.println("use " + Use.now());
                    }
                }
                PoolStatistics done = pool.statistics();
                System.out.println("restores " + done.restores() + " checkpoints " + done.checkpoints());
                System.out.println("contents " + worker.checksum().equals(before));
            }
        }

        private static void cycle(Rekindle rekindle, WarmPool pool, Worker worker, Path images) {
            checkpoint(rekindle, worker, images, false);
            worker.awaitEnd();
            rekindle.restoreAsync(RestoreRequest.builder(images)
                            .progress((done, total, phase) -> {})
                            .build())
                    .result()
                    .join();
            pool.acquire(0).close();
            CheckpointImage.open(images);
        }

        private static void checkpoint(Rekindle rekindle, Worker worker, Path images, boolean leaveRunning) {
            rekindle.checkpoint(CheckpointRequest.builder(worker.pid(), images)
                    .progress((done, total, phase) -> {})
                    .leaveRunning(leaveRunning)
                    .build());
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
                        // The compilers take megabytes whenever a method has been called often enough.
                        "-Xint",
                        "--enable-native-access=ALL-UNNAMED",
                        "--illegal-native-access=deny",
                        "-Drekindle.library.path=" + TestMachine.LIBRARY_FOLDER,
                        "-Drekindle.native.build=" + TestMachine.NATIVE,
                        "-Drekindle.native.source=" + System.getProperty("rekindle.native.source")),
                // One heap for all threads, and large blocks outside: else glibc keeps megabytes that a leak would
                // fill.
                Map.of("MALLOC_ARENA_MAX", "1", "MALLOC_MMAP_THRESHOLD_", "131072"),
                folder.toString(),
                String.valueOf(CYCLES),
                String.valueOf(STEP));
        assertThat(output.exitCode()).as(output.text()).isZero();
        assertThat(output.text())
                .contains("contents true")
                .contains("restores " + CYCLES + " checkpoints " + (CYCLES + CYCLES / 10));
        List<Use> uses = output.text()
                .lines()
                .filter(line -> line.startsWith("use "))
                .map(Use::parse)
                .toList();
        assertThat(uses).hasSize(Math.ceilDiv(CYCLES, STEP));
        // In the first third, everything is loaded and pooled that will be.
        int third = uses.size() / 3;
        List<Use> early = uses.subList(third, 2 * third);
        List<Use> late = uses.subList(uses.size() - third, uses.size());
        assertGrowth(Use::descriptors, early, late, 0);
        assertGrowth(Use::threads, early, late, 0);
        assertGrowth(Use::mappings, early, late, 4);
        // Measured: below 100. A leak of 12 KiB in each cycle is above.
        assertGrowth(Use::residentKibibytes, early, late, 512);
    }

    /** Compares medians, since a sample may meet a thread that is about to end. */
    private static void assertGrowth(ToLongFunction<Use> figure, List<Use> early, List<Use> late, long bound) {
        assertThat(median(late, figure) - median(early, figure))
                .as("growth from %s to %s", early, late)
                .isLessThanOrEqualTo(bound);
    }

    private static long median(List<Use> uses, ToLongFunction<Use> figure) {
        return uses.stream()
                .mapToLong(figure)
                .sorted()
                .skip(uses.size() / 2)
                .findFirst()
                .orElseThrow();
    }
}
