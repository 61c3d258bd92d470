// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.tuple;
import static org.assertj.core.api.InstanceOfAssertFactories.STRING;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Real CRIU, the simulated driver. */
class CheckpointRestoreTest {
    private static final long DEVICE_BYTES = 24L << 20;

    @TempDir
    private Path folder;

    @Test
    void contentsComeBackAndStatisticsAreFilled() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();

            CheckpointResult dumped = rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));

            worker.awaitEnd();
            assertThat(dumped.pid()).isEqualTo(worker.pid());
            assertThat(dumped.directory()).isEqualTo(folder.resolve("images")).isDirectory();
            assertThat(dumped.statistics()).satisfies(run -> {
                assertThat(run.kind()).isEqualTo(RunKind.CHECKPOINT);
                assertThat(run.succeeded()).isTrue();
                assertThat(run.failure()).isEmpty();
                assertThat(run.simulated()).isTrue();
                assertThat(run.deviceBytes()).isEqualTo(DEVICE_BYTES);
                assertThat(run.imageBytes()).isBetween(1L, DEVICE_BYTES + (1 << 20));
                assertThat(run.hostBytes()).isPositive();
                assertThat(run.duration()).isBetween(Duration.ofMillis(1), Duration.ofMinutes(1));
                assertThat(run.criu().pagesWritten()).isPositive();
                assertThat(run.criu().frozenTime()).isPositive();
                assertThat(run.criuVersion()).get(STRING).startsWith("4.");
                assertThat(run.driverVersion()).isPresent();
                assertThat(run.processes()).singleElement().satisfies(process -> {
                    assertThat(process.pid()).isEqualTo(worker.pid());
                    assertThat(process.mode()).isEqualTo(Mode.OFFLOAD);
                    assertThat(process.deviceBytes()).isEqualTo(DEVICE_BYTES);
                    assertThat(process.phases())
                            .filteredOn(phase -> phase.kind() == PhaseKind.COPY_OUT)
                            .singleElement()
                            .satisfies(phase -> {
                                assertThat(phase.bytes()).isEqualTo(DEVICE_BYTES);
                                assertThat(phase.bytesPerSecond()).isPositive();
                                assertThat(phase.start()).isBetween(Duration.ZERO, run.duration());
                            });
                });
            });

            var hooked = new ArrayList<RestoredProcess>();
            RestoredProcess restored = rekindle.restore(RestoreRequest.builder(Path.of("images"))
                    .afterRestore(hooked::add)
                    .build());

            assertThat(hooked).containsExactly(restored);
            assertThat(restored.pid()).isEqualTo(worker.pid());
            assertThat(restored.processHandle())
                    .hasValueSatisfying(handle -> assertThat(handle.isAlive()).isTrue());
            assertThat(restored.statistics()).satisfies(run -> {
                assertThat(run.kind()).isEqualTo(RunKind.RESTORE);
                assertThat(run.deviceBytes()).isEqualTo(DEVICE_BYTES);
                assertThat(run.poolWarm()).isFalse();
                assertThat(run.criu().pagesRestored()).isPositive();
                assertThat(run.processes())
                        .singleElement()
                        .satisfies(process -> assertThat(process.phases())
                                .extracting(Phase::kind)
                                .contains(PhaseKind.PREFETCH, PhaseKind.DRIVER_RESTORE, PhaseKind.MAP));
            });
            worker.advance();
            assertThat(worker.checksum()).isEqualTo(before);
            assertThat(RunStatistics.read(folder.resolve("images"), RunKind.RESTORE))
                    .satisfies(read -> {
                        assertThat(read.criu()).isEqualTo(restored.statistics().criu());
                        assertThat(read.processes()).hasSize(1);
                        assertThat(read.processes().getFirst().phases())
                                .extracting(Phase::kind, Phase::duration, Phase::bytes)
                                .isEqualTo(restored.statistics().processes().getFirst().phases().stream()
                                        .map(phase -> tuple(phase.kind(), phase.duration(), phase.bytes()))
                                        .toList());
                    });

            var exit = restored.onExit();
            assertThat(exit).isNotDone();
            restored.processHandle().orElseThrow().destroyForcibly();
            assertThat(exit.get(30, TimeUnit.SECONDS)).isEqualTo(restored);
        }
    }

    @Test
    void processGoesOnRunningWhenLeftSo() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            var order = new ArrayList<String>();
            CheckpointResult dumped = rekindle.checkpoint(
                    CheckpointRequest.builder(ProcessHandle.of(worker.pid()).orElseThrow(), Path.of("images"))
                            .leaveRunning(true)
                            .beforeCheckpoint(() -> order.add("first"))
                            .beforeCheckpoint(() -> order.add("second"))
                            .afterCheckpoint(result -> order.add("of " + result.pid()))
                            .afterFailedCheckpoint(() -> order.add("failed"))
                            .build());
            assertThat(order).containsExactly("first", "second", "of " + worker.pid());
            assertThat(dumped.statistics().succeeded()).isTrue();
            worker.advance();
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }

    @Test
    void nativeModeSaysWhy() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker", false)) {
            String before = worker.checksum();
            CheckpointResult dumped = rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
            assertThat(dumped.statistics().processes()).singleElement().satisfies(process -> {
                assertThat(process.mode()).isEqualTo(Mode.NATIVE);
                assertThat(process.reason()).get(STRING).contains("librekindle-preload.so");
            });
            worker.awaitEnd();
            rekindle.restore(RestoreRequest.of(Path.of("images")));
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }

    @Test
    void processWithoutCudaWorksToo() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker", false, "--no-cuda")) {
            String before = worker.checksum();
            CheckpointResult dumped = rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
            assertThat(dumped.statistics().processes()).isEmpty();
            assertThat(dumped.statistics().deviceBytes()).isZero();
            worker.awaitEnd();
            rekindle.restore(RestoreRequest.of(Path.of("images")));
            worker.advance();
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }

    @Test
    void optionsReachCriuAndTheWorkFolderTakesLogs() throws Exception {
        Path work = Files.createDirectory(folder.resolve("work"));
        Path arguments = folder.resolve("arguments");
        Path criu = Files.writeString(
                folder.resolve("criu"),
                "#!/bin/sh\nprintf '%s\\n' \"$@\" >>" + arguments + "\nexec " + TestMachine.criu() + " \"$@\"\n");
        assertThat(criu.toFile().setExecutable(true)).isTrue();
        try (Rekindle rekindle = TestMachine.rekindle(folder).criu(criu).build();
                Worker worker = Worker.start(folder, "worker")) {
            rekindle.checkpoint(CheckpointRequest.builder(worker.pid(), Path.of("images"))
                    .workDirectory(Path.of("work")) // beside the images, in the folder of the handle
                    .logFile("mine.log")
                    .leaveRunning(true)
                    .timeout(Duration.ofMillis(29_001))
                    .fileLocks(true)
                    .linkRemap(true)
                    .tcpEstablished(true)
                    .externalUnixSockets(true)
                    .externalMasters(true)
                    .shellJob(true)
                    .tcpClose(true)
                    .tcpClose(false)
                    .logLevel(3)
                    .argument("--ghost-limit")
                    .argument("2M")
                    .build());
            assertThat(Files.readAllLines(arguments))
                    .contains(
                            "--leave-running",
                            "--shell-job",
                            "--tcp-established",
                            "--file-locks",
                            "--link-remap",
                            "--enable-external-masters",
                            "--ext-unix-sk",
                            "--ghost-limit",
                            "2M",
                            work.toString(),
                            "mine.log")
                    .containsSequence("--timeout", "30")
                    .doesNotContain("--tcp-close", "--leave-stopped");
            assertThat(work.resolve("mine.log")).isNotEmptyFile();
            assertThat(RunStatistics.read(work, RunKind.CHECKPOINT).deviceBytes())
                    .isEqualTo(DEVICE_BYTES);
        }
    }

    @Test
    void treeOfSeveralGpuProcesses() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker", "--children", "2")) {
            String before = worker.checksum();
            CheckpointResult dumped = rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
            assertThat(dumped.statistics().processes())
                    .hasSize(3)
                    .allSatisfy(process -> assertThat(process.mode()).isEqualTo(Mode.OFFLOAD));
            worker.awaitEnd();
            rekindle.restore(RestoreRequest.of(Path.of("images")));
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }

    @Test
    void runsOfDifferentTreesGoSideBySide() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
            var workers = new ArrayList<Worker>();
            try {
                for (int i = 0; i < 4; i++) {
                    workers.add(Worker.start(folder, "worker" + i, "--seed", String.valueOf(i)));
                }
                List<String> before = checksums(workers);
                workers.parallelStream()
                        .map(worker -> CheckpointRequest.builder(worker.pid(), Path.of("images" + worker.pid()))
                                .build())
                        .forEach(rekindle::checkpoint);
                workers.forEach(Worker::awaitEnd);
                workers.parallelStream()
                        .map(worker -> RestoreRequest.of(Path.of("images" + worker.pid())))
                        .forEach(rekindle::restore);
                assertThat(checksums(workers)).isEqualTo(before);
            } finally {
                workers.forEach(Worker::close);
            }
        }
    }

    /** Each one as soon as the one before it was killed: a process id that is just becoming free is waited for. */
    @Test
    void restoresFollowEachOther() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
            for (int i = 0; i < 5; i++) {
                RestoredProcess restored = rekindle.restore(RestoreRequest.of(Path.of("images")));
                assertThat(worker.checksum()).isEqualTo(before);
                ((RestoredTree) restored).kill();
            }
        }
    }

    private static List<String> checksums(List<Worker> workers) throws Exception {
        var checksums = new ArrayList<String>();
        for (Worker worker : workers) {
            checksums.add(worker.checksum());
        }
        return checksums;
    }
}
