// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.InstanceOfAssertFactories.STRING;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.OptionalLong;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a folder holds. */
class CheckpointImageTest {
    private static final String SECOND = "GPU-53494d55-4c41-5445-442d-4750552d3031";

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
        assertThat(image.rootPid()).isEqualTo(pid);
        assertThat(image.simulated()).isTrue();
        assertThat(image.usesCudaPlugin()).isTrue();
        assertThat(image.deviceBytes()).isEqualTo(48L << 20);
        assertThat(image.hostBytes()).isPositive();
        assertThat(image.driverVersion()).isPresent();
        assertThat(image.driver()).get(STRING).startsWith("CUDA ");
        assertThat(image.criuVersion()).get(STRING).startsWith("4.");
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
    void whatItNeedsIsToldForEachGpuAndProcess() {
        CheckpointImage image = CheckpointImage.open(folder.resolve("whole"));
        assertThat(image.gpus()).singleElement().satisfies(gpu -> {
            assertThat(gpu.number()).isZero();
            assertThat(gpu.model()).containsIgnoringCase("simulated");
            assertThat(gpu.uuid()).startsWith("GPU-");
            assertThat(gpu.deviceBytes()).isEqualTo(48L << 20);
            assertThat(gpu.neededBytes()).isGreaterThanOrEqualTo(48L << 20);
            assertThat(gpu.memoryBytes()).isGreaterThan(gpu.deviceBytes());
        });
        assertThat(image.processes())
                .allSatisfy(process -> assertThat(process.gpus())
                        .singleElement()
                        .satisfies(gpu -> {
                            assertThat(gpu.uuid())
                                    .isEqualTo(image.gpus().getFirst().uuid());
                            assertThat(gpu.deviceBytes()).isEqualTo(24L << 20);
                        }));
    }

    @Test
    void gpusOfAnotherMachineAreJudgedAsARestoreWouldJudgeThem() {
        CheckpointImage image = CheckpointImage.open(folder.resolve("whole"));
        GpuUse use = image.gpus().getFirst();
        Gpu gpu = new Gpu(3, use.model(), SECOND, use.memoryBytes(), OptionalLong.of(use.neededBytes()), 13000, true);
        assertThat(image.restorableOn(List.of(gpu)).possible()).isTrue();
        assertThat(image.restorableOn(List.of(gpu), "0=3").possible()).isTrue();
        assertThat(reason(image.restorableOn(List.of(gpu), "0=1")))
                .hasMessageContaining("asks for GPU 1, and this machine has: 3 (" + SECOND + ")")
                .extracting(RekindleException::code)
                .isEqualTo(ErrorCode.INVALID_ARGUMENT);
        Gpu full = new Gpu(
                0, use.model(), use.uuid(), use.memoryBytes(), OptionalLong.of(use.neededBytes() - 1), 13000, true);
        assertThat(reason(image.restorableOn(List.of(full))))
                .hasMessageContaining("47 MiB free, and 48 MiB are needed")
                .extracting(RekindleException::code)
                .isEqualTo(ErrorCode.NO_SPACE);
        assertThat(image.restorableOn(List.of(full, gpu)).possible()).isTrue();
        Gpu other = new Gpu(0, "Another", SECOND, use.memoryBytes(), OptionalLong.empty(), 13000, true);
        assertThat(reason(image.restorableOn(List.of(other))))
                .isInstanceOf(IncompatibleException.class)
                .hasMessageContaining(use.model());
        assertThat(image.restorableOn(List.of()).possible()).isFalse();
        assertThatThrownBy(() -> image.restorableOn(
                        List.of(new Gpu(0, "x".repeat(96), SECOND, 1, OptionalLong.empty(), 13000, true))))
                .isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void theGpusOfThisMachineAreListedAndWillDo() {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
            List<Gpu> gpus = rekindle.gpus();
            assertThat(gpus).isNotEmpty().first().satisfies(gpu -> {
                assertThat(gpu.model()).containsIgnoringCase("simulated");
                assertThat(gpu.uuid()).startsWith("GPU-");
                assertThat(gpu.memoryBytes()).isPositive();
                assertThat(gpu.freeBytes()).isPresent();
                assertThat(gpu.simulated()).isTrue();
            });
            assertThat(CheckpointImage.open(folder.resolve("whole"))
                            .restorableOn(gpus)
                            .possible())
                    .isTrue();
        }
    }

    private static RekindleException reason(Restorability restorability) {
        return restorability.reason().orElseThrow();
    }

    @Test
    void checksumsAreVerified() throws Exception {
        CheckpointImage whole = CheckpointImage.open(folder.resolve("whole"));
        assertThat(whole.hasManifest()).isTrue();
        assertThat(whole.verify()).isEqualTo((48L << 20) + bytesOfCriu(folder.resolve("whole")));

        Path data = TestMachine.gpuPages(folder.resolve("altered"), pid);
        try (RandomAccessFile file = new RandomAccessFile(data.toFile(), "rw")) {
            file.seek(5 << 20);
            int value = file.read();
            file.seek(5 << 20);
            file.write(value ^ 1);
        }
        assertThatThrownBy(() -> CheckpointImage.open(folder.resolve("altered")).verify())
                .isInstanceOf(CorruptImageException.class)
                .hasMessageContaining(data.getFileName().toString());

        Path shorter = TestMachine.gpuPages(folder.resolve("truncated"), pid);
        try (RandomAccessFile file = new RandomAccessFile(shorter.toFile(), "rw")) {
            file.setLength(Files.size(shorter) / 2);
        }
        assertThatThrownBy(
                        () -> CheckpointImage.open(folder.resolve("truncated")).verify())
                .isInstanceOf(CorruptImageException.class)
                .hasMessageContaining(shorter.getFileName().toString());
    }

    /** All image files but the device memory and the manifest that lists them. */
    private static long bytesOfCriu(Path images) throws IOException {
        long bytes = 0;
        try (DirectoryStream<Path> files = Files.newDirectoryStream(images, "*.img")) {
            for (Path file : files) {
                String name = file.getFileName().toString();
                if (!name.startsWith("rekindle-pages-") && !name.equals("rekindle-checkpoint.img")) {
                    bytes += Files.size(file);
                }
            }
        }
        return bytes;
    }

    @Test
    void filesOfCriuAreVerified() throws Exception {
        Path copy = Files.createDirectory(folder.resolve("copy"));
        try (DirectoryStream<Path> files = Files.newDirectoryStream(folder.resolve("whole"), "*.img")) {
            for (Path file : files) {
                Files.copy(file, copy.resolve(file.getFileName()));
            }
        }
        Path core = copy.resolve("core-" + pid + ".img");
        byte[] bytes = Files.readAllBytes(core);
        bytes[bytes.length / 2] ^= 1;
        Files.write(core, bytes);
        assertThatThrownBy(() -> CheckpointImage.open(copy).verify())
                .isInstanceOf(CorruptImageException.class)
                .hasMessageContaining("core-" + pid + ".img");
        Files.delete(copy.resolve("files.img"));
        assertThatThrownBy(() -> CheckpointImage.open(copy))
                .isInstanceOf(CorruptImageException.class)
                .hasMessageContaining("files.img is missing");
        // What nothing lists is only as good as the images tell.
        Files.delete(copy.resolve("rekindle-checkpoint.img"));
        bytes[bytes.length / 2] ^= 1;
        Files.write(core, bytes);
        CheckpointImage unlisted = CheckpointImage.open(copy);
        assertThat(unlisted.hasManifest()).isFalse();
        assertThat(unlisted.verify()).isEqualTo(48L << 20);
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
