// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.rekindle.cli.Finding.Status;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What the doctor says of a driver and of GPUs that are not as they should be. */
class GpuDoctorTest {
    private static final String GPU = "NVIDIA H200, 139 MiB, 143771 MiB, %s, %s";

    @TempDir
    private Path folder;

    /** Versions as the files of real drivers have them. */
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023  | FAIL | 535.129.03
            NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  565.57.01  Release Build  (dvs)   | FAIL | 565.57.01
            NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs)   | PASS | 570.86.15
            NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 10:11:16 UTC 2025   | PASS | 580.95.05
            """)
    void anOldDriverIsNamedWithItsRemedy(String text, Status status, String version) throws Exception {
        Path file = Files.writeString(folder.resolve("version"), text + "\nGCC version:  gcc version 13.3.0\n");
        Finding driver =
                only(new GpuDoctor(Optional.empty(), sources(file.toString(), null)).examine(), named("driver"));
        assertThat(driver.status()).isEqualTo(status);
        assertThat(driver.found()).isEqualTo("NVIDIA " + version);
        if (status != Status.PASS) {
            assertThat(driver.needed()).contains("570 or newer");
            assertThat(driver.fix()).isEqualTo("install a newer driver");
        }
    }

    /** Its library is there, and lacks the calls: the C library is such a one. */
    @Test
    void aDriverWithoutTheCallsIsNamedWithItsRemedy() {
        List<Finding> findings = new GpuDoctor(Optional.of("libc.so.6"), sources("/nonexistent", null)).examine();
        assertThat(only(findings, named("checkpoint calls"))).satisfies(calls -> {
            assertThat(calls.status()).isEqualTo(Status.FAIL);
            assertThat(calls.found()).isEqualTo("libc.so.6 has none");
            assertThat(calls.fix()).isEqualTo("install a newer driver");
        });
        findings = new GpuDoctor(Optional.of("/nonexistent/libcuda.so.1"), sources("/nonexistent", null)).examine();
        assertThat(only(findings, named("checkpoint calls")).fix()).contains("--cuda-driver");
    }

    @Test
    void noDriverIsOnlyMissingWhereCudaIsUsed() {
        Finding driver =
                only(new GpuDoctor(Optional.empty(), sources("/nonexistent", null)).examine(), named("driver"));
        assertThat(driver.status()).isEqualTo(Status.WARN);
        assertThat(driver.fix()).isEqualTo("nothing where only others are checkpointed");
    }

    /** Of two GPUs each has its own lines. */
    @Test
    void persistenceModeAndMigAreNamedWithTheirRemedies() throws Exception {
        Path smi = smi(GPU.formatted("Disabled", "Enabled"), GPU.formatted("Enabled", "[N/A]"));
        List<Finding> findings = new GpuDoctor(Optional.empty(), sources("/nonexistent", smi)).examine();
        List<Finding> persistence =
                findings.stream().filter(named("persistence mode")).toList();
        assertThat(persistence).extracting(Finding::status).containsExactly(Status.WARN, Status.PASS);
        assertThat(persistence.getFirst().found()).isEqualTo("disabled");
        assertThat(persistence.getFirst().fix()).isEqualTo("nvidia-smi -pm 1");
        List<Finding> mig = findings.stream().filter(named("MIG")).toList();
        assertThat(mig).extracting(Finding::status).containsExactly(Status.WARN, Status.PASS);
        assertThat(mig.getFirst().found()).isEqualTo("enabled");
        assertThat(mig.getFirst().fix()).isEqualTo("nvidia-smi -mig 0");
        assertThat(findings.stream().filter(named("GPU")))
                .hasSize(2)
                .allSatisfy(gpu -> assertThat(gpu.found()).isEqualTo("NVIDIA H200, 139 MiB of 143771 MiB free"));
    }

    /** As of a driver whose GPU has fallen off the bus: the program says so, and ends with a status that tells nothing more. */
    @Test
    void whatTheDriverSaysInPlaceOfGpusIsSaid() throws Exception {
        List<Finding> findings =
                new GpuDoctor(Optional.empty(), sources("/nonexistent", smi("No devices were found"))).examine();
        assertThat(only(findings, named("GPU"))).satisfies(gpu -> {
            assertThat(gpu.status()).isEqualTo(Status.WARN);
            assertThat(gpu.found()).endsWith("nvidia-smi says: No devices were found");
            assertThat(gpu.fix()).contains("dmesg");
        });
    }

    @Test
    void mpsIsNamedWithItsRemedyWhileItRuns() throws Exception {
        Path program = folder.resolve("rekindle-test-mps-control");
        Files.copy(Path.of("/bin/sleep").toRealPath(), program);
        assertThat(program.toFile().setExecutable(true)).isTrue();
        var doctor = new GpuDoctor.Sources("/nonexistent", Optional.empty(), "rekindle-test-mps");
        assertThat(only(new GpuDoctor(Optional.empty(), doctor).examine(), named("MPS"))
                        .status())
                .isEqualTo(Status.PASS);
        Process service = new ProcessBuilder(program.toString(), "1000").start();
        try {
            Cli.await("the program", () -> Machine.processNamed("rekindle-test-mps"));
            assertThat(only(new GpuDoctor(Optional.empty(), doctor).examine(), named("MPS")))
                    .satisfies(mps -> {
                        assertThat(mps.status()).isEqualTo(Status.WARN);
                        assertThat(mps.fix()).isEqualTo("stop it: echo quit | nvidia-cuda-mps-control");
                    });
        } finally {
            service.destroyForcibly().waitFor();
        }
        assertThat(GpuDoctor.Sources.ofTheMachine().mps()).isEqualTo("nvidia-cuda-mps");
    }

    private static GpuDoctor.Sources sources(String version, @Nullable Path smi) {
        return new GpuDoctor.Sources(version, Optional.ofNullable(smi), "rekindle-no-such-program");
    }

    private Path smi(String... lines) throws IOException {
        Path program = Files.writeString(
                folder.resolve("nvidia-smi"), "#!/bin/sh\ncat <<EOF\n" + String.join("\n", lines) + "\nEOF\nexit 6\n");
        assertThat(program.toFile().setExecutable(true)).isTrue();
        return program;
    }

    private static Predicate<Finding> named(String name) {
        return finding -> finding.name().equals(name);
    }

    private static Finding only(List<Finding> findings, Predicate<Finding> filter) {
        List<Finding> found = findings.stream().filter(filter).toList();
        assertThat(found).as(findings.toString()).hasSize(1);
        return found.getFirst();
    }
}
