// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a folder holds. */
class CheckpointImageTest {
    @TempDir
    static Path folder;

    static long pid;

    @BeforeAll
    static void dump() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker", "--children", "1")) {
            pid = worker.pid();
            for (String name : new String[] {"whole", "altered", "truncated"}) {
                rekindle.checkpoint(CheckpointRequest.builder(pid, Path.of(name))
                        .leaveRunning(true)
                        .build());
            }
        }
    }

    @Test
    void contentsAreShownWithoutRestoring() {
        CheckpointImage image = CheckpointImage.open(folder.resolve("whole"));
        assertThat(image.rootPid()).isEqualTo((int) pid);
        assertThat(image.simulated()).isTrue();
        assertThat(image.usesCudaPlugin()).isTrue();
        assertThat(image.deviceBytes()).isEqualTo(48L << 20);
        assertThat(image.hostBytes()).isPositive();
        assertThat(image.gpuName()).containsIgnoringCase("simulated");
        assertThat(image.gpuUuid()).isNotEmpty();
        assertThat(image.driverVersion()).isPositive();
        assertThat(image.criuVersion()).startsWith("4.");
        assertThat(image.created())
                .isBetween(
                        Instant.now().minus(Duration.ofMinutes(10)),
                        Instant.now().plusSeconds(1));
        assertThat(image.processes()).hasSize(2).allSatisfy(process -> {
            assertThat(process.name()).startsWith("rekindle-worker".substring(0, 15));
            assertThat(process.mode()).isEqualTo(Mode.OFFLOAD);
            assertThat(process.deviceBytes()).isEqualTo(24L << 20);
            assertThat(process.allocations()).isGreaterThanOrEqualTo(6);
            assertThat(process.threads()).isPositive();
        });
        assertThat(image.processes())
                .filteredOn(process -> process.parentPid() == image.rootPid())
                .hasSize(1);
    }

    @Test
    void checksumsAreVerified() throws Exception {
        assertThat(CheckpointImage.open(folder.resolve("whole")).verify()).isEqualTo(48L << 20);

        Path data = folder.resolve("altered/rekindle-pages-" + pid + ".img");
        try (RandomAccessFile file = new RandomAccessFile(data.toFile(), "rw")) {
            file.seek(5 << 20);
            int value = file.read();
            file.seek(5 << 20);
            file.write(value ^ 1);
        }
        assertThatThrownBy(() -> CheckpointImage.open(folder.resolve("altered")).verify())
                .isInstanceOf(CorruptImageException.class)
                .hasMessageContaining(data.getFileName().toString());

        Path shorter = folder.resolve("truncated/rekindle-pages-" + pid + ".img");
        try (RandomAccessFile file = new RandomAccessFile(shorter.toFile(), "rw")) {
            file.setLength(Files.size(shorter) / 2);
        }
        assertThatThrownBy(
                        () -> CheckpointImage.open(folder.resolve("truncated")).verify())
                .isInstanceOf(CorruptImageException.class)
                .hasMessageContaining(shorter.getFileName().toString());
    }

    @Test
    void listenerSeesTheVerification() {
        var last = new long[1];
        long bytes = CheckpointImage.open(folder.resolve("whole")).verify((done, total, phase) -> last[0] = done);
        assertThat(last[0]).isEqualTo(bytes);
        assertThatThrownBy(() -> CheckpointImage.open(folder.resolve("whole")).verify((done, total, phase) -> {
                    throw new ArithmeticException("enough");
                }))
                .isInstanceOf(ArithmeticException.class);
    }
}
