// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What handles and requests are set to reaches CRIU, and with its environment the plugin. */
class SettingsTest {
    private static final List<String> VARIABLES = List.of(
            "CRIU_CUDA_CONTEXT_POOL",
            "CRIU_CUDA_PARALLEL_RESTORE",
            "CRIU_CUDA_STREAMS",
            "REKINDLE_CHECKSUMS",
            "REKINDLE_CONFIGURATION");

    @TempDir
    private Path folder;

    private FakeCriu criu;
    private Path images;

    @BeforeEach
    void makeImages() throws Exception {
        criu = FakeCriu.create(folder, "4.2.1", FakeCriu.EVERY_OPTION);
        images = folder.resolve("images");
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker", false, "--no-cuda")) {
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), images));
        }
    }

    @Test
    void settingsOfAHandle() throws Exception {
        Path configuration = Files.writeString(folder.resolve("rekindle.conf"), "[rekindle]\nREKINDLE_TIMEOUT = 60\n");
        restore(builder()
                .configuration(configuration)
                .contextPool(true)
                .parallelRestore(false)
                .checksums(true)
                .streams(5)
                .restoreThreads(7)
                .hugePages(HugePages.ALWAYS));
        assertThat(criu.environment())
                .contains(
                        "CRIU_CUDA_CONTEXT_POOL=1",
                        "CRIU_CUDA_PARALLEL_RESTORE=0",
                        "REKINDLE_CHECKSUMS=1",
                        "CRIU_CUDA_STREAMS=5",
                        "REKINDLE_CONFIGURATION=" + configuration,
                        "REKINDLE_POOL_SOCKET=" + folder.resolve("pool.sock"),
                        "REKINDLE_CUDA_DRIVER=" + TestMachine.SIMULATED_DRIVER);
        assertThat(criu.arguments())
                .containsSequence("--restore-threads", "7")
                .containsSequence("--restore-thp", "always");

        Path plugins = Files.createDirectory(folder.resolve("plugins"));
        Files.copy(TestMachine.LIBRARY_FOLDER.resolve("criu/cuda_plugin.so"), plugins.resolve("cuda_plugin.so"));
        restore(builder()
                .pluginDirectory(plugins)
                .contextPool(false)
                .parallelRestore(true)
                .checksums(false)
                .restoreThreads(-1)
                .hugePages(HugePages.ADVISED));
        assertThat(criu.environment())
                .contains("CRIU_CUDA_CONTEXT_POOL=0", "CRIU_CUDA_PARALLEL_RESTORE=1", "REKINDLE_CHECKSUMS=0");
        assertThat(criu.arguments())
                .containsSequence("--libdir", plugins.toRealPath().toString())
                .containsSequence("--restore-thp", "advised")
                .doesNotContain("--restore-threads");

        restore(builder().hugePages(HugePages.NEVER));
        assertThat(criu.arguments()).containsSequence("--restore-thp", "never");
    }

    @Test
    void whatIsNotSetIsLeftToTheEnvironment() throws Exception {
        restore(builder());
        assertThat(criu.environment())
                .filteredOn(line -> VARIABLES.contains(line.substring(0, Math.max(0, line.indexOf('=')))))
                .containsExactlyInAnyOrderElementsOf(System.getenv().entrySet().stream()
                        .filter(entry -> VARIABLES.contains(entry.getKey()))
                        .map(Map.Entry::toString)
                        .toList());
        assertThat(criu.arguments())
                .containsSequence("--restore-threads", "0")
                .containsSequence(
                        "--libdir",
                        TestMachine.LIBRARY_FOLDER.resolve("criu").toRealPath().toString())
                .doesNotContain("--restore-thp");
    }

    @Test
    void criuThatLacksAnOptionIsNotGivenIt() throws Exception {
        criu = FakeCriu.create(folder, "4.2.1", "--restore-detached");
        restore(builder().restoreThreads(7).hugePages(HugePages.ALWAYS));
        assertThat(criu.arguments()).contains("restore").doesNotContain("--restore-threads", "--restore-thp");
    }

    @Test
    void configurationFileIsRead() throws Exception {
        Path configuration = Files.writeString(folder.resolve("rekindle.conf"), "[rekindle]\nCRIU_CUDA_STREAMS = 99\n");
        try (Rekindle rekindle = builder().configuration(configuration).build()) {
            assertThat(rekindle.check())
                    .hasValueSatisfying(failure -> assertThat(failure)
                            .hasMessageContaining("CRIU_CUDA_STREAMS")
                            .hasMessageContaining(configuration.toString()));
        }
    }

    @Test
    void poolThatARunStartedStaysIfAskedTo() throws Exception {
        try (Worker worker = Worker.start(folder, "gpu")) {
            try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
                rekindle.checkpoint(leaveRunning(worker));
                assertThatThrownBy(rekindle::connectPool)
                        .isInstanceOfSatisfying(
                                PoolException.class,
                                failure -> assertThat(failure.code()).isEqualTo(ErrorCode.POOL_UNREACHABLE));
            }
            try (Rekindle rekindle =
                    TestMachine.rekindle(folder).contextPool(true).streams(3).build()) {
                rekindle.checkpoint(leaveRunning(worker));
                try (WarmPool pool = rekindle.connectPool()) {
                    PoolStatistics statistics = pool.statistics();
                    assertThat(statistics.workers()).isEqualTo(3);
                    assertThat(statistics.checkpoints()).isEqualTo(1);
                    ProcessHandle.of(statistics.pid()).orElseThrow().destroy();
                }
            }
        }
    }

    @Test
    void switchesOfARestore() throws Exception {
        Path work = Files.createDirectory(folder.resolve("work"));
        restore(
                builder(),
                RestoreRequest.builder(images)
                        .workDirectory(work)
                        .logFile("mine.log")
                        .logLevel(2)
                        .shellJob(true)
                        .tcpEstablished(true)
                        .fileLocks(true)
                        .linkRemap(true)
                        .externalMasters(true)
                        .externalUnixSockets(true)
                        .argument("--ghost-limit")
                        .argument("2M"));
        assertThat(criu.arguments())
                .containsSequence("--images-dir", images.toString())
                .containsSequence("--work-dir", work.toString())
                .containsSequence("--log-file", "mine.log")
                .contains(
                        "-v2",
                        "--shell-job",
                        "--tcp-established",
                        "--file-locks",
                        "--link-remap",
                        "--enable-external-masters",
                        "--ext-unix-sk")
                .endsWith("--ghost-limit", "2M");

        restore(builder(), RestoreRequest.builder(images).tcpClose(true));
        assertThat(criu.arguments())
                .containsSequence("--work-dir", images.toString())
                .containsSequence("--log-file", "restore.log")
                .contains("-v4", "--tcp-close")
                .doesNotContain(
                        "--shell-job",
                        "--tcp-established",
                        "--file-locks",
                        "--link-remap",
                        "--enable-external-masters",
                        "--ext-unix-sk",
                        "--ghost-limit");
    }

    @Test
    void processStaysStoppedWhenLeftSo() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "gpu")) {
            String before = worker.checksum();
            rekindle.checkpoint(CheckpointRequest.builder(worker.pid(), folder.resolve("stopped"))
                    .leaveStopped(true)
                    .build());
            assertThat(Files.readAllLines(Path.of("/proc/" + worker.pid() + "/status")))
                    .contains("State:\tT (stopped)");
            new ProcessBuilder("kill", "-CONT", String.valueOf(worker.pid()))
                    .inheritIO()
                    .start()
                    .waitFor();
            worker.advance();
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }

    private Rekindle.Builder builder() {
        return TestMachine.rekindle(folder).criu(criu.program());
    }

    private void restore(Rekindle.Builder settings) throws IOException {
        restore(settings, RestoreRequest.builder(images));
    }

    private void restore(Rekindle.Builder settings, RestoreRequest.Builder request) throws IOException {
        Files.deleteIfExists(criu.argumentFile());
        try (Rekindle rekindle = settings.build()) {
            assertThatThrownBy(() -> rekindle.restore(request.build())).isInstanceOf(RestoreException.class);
        }
    }

    private CheckpointRequest leaveRunning(Worker worker) {
        return CheckpointRequest.builder(worker.pid(), folder.resolve("gpu-images"))
                .leaveRunning(true)
                .build();
    }
}
