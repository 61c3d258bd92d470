// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.File;
import java.lang.ProcessBuilder.Redirect;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The parts of the release are found without a setting, and a prepared program is checkpointed in the fast mode. */
class PreparationTest {
    @TempDir
    private Path folder;

    @Test
    void partsAreThoseOfTheBuild() throws Exception {
        try (Rekindle rekindle = Rekindle.create()) {
            assertThat(rekindle.agent()).isEqualTo(TestMachine.AGENT.toRealPath());
            assertThat(rekindle.poolProgram())
                    .isEqualTo(TestMachine.NATIVE.resolve("bin/rekindled").toRealPath());
            assertThat(rekindle.pluginFolder())
                    .isEqualTo(TestMachine.LIBRARY_FOLDER.resolve("criu").toRealPath());
            assertThat(rekindle.criuProgram()).isEqualTo(TestMachine.criu().toRealPath());
        }
    }

    @Test
    void settingsGoFirst() throws Exception {
        Path plugin = Files.createDirectory(folder.resolve("plugin"));
        Files.createFile(plugin.resolve("cuda_plugin.so"));
        try (Rekindle rekindle =
                TestMachine.rekindle(folder).pluginDirectory(plugin).build()) {
            assertThat(rekindle.pluginFolder()).isEqualTo(plugin.toRealPath());
        }
        Path missing = folder.resolve("no-criu");
        try (Rekindle rekindle = Rekindle.builder().criu(missing).build()) {
            assertThatThrownBy(rekindle::criuProgram)
                    .isInstanceOfSatisfying(
                            RekindleException.class,
                            failure -> assertThat(failure.code()).isEqualTo(ErrorCode.CRIU_NOT_FOUND))
                    .hasMessageContaining(missing.toString());
        }
    }

    @Test
    void preparedProgramComesBack() throws Exception {
        Path state = folder.resolve("worker");
        ProcessBuilder builder = new ProcessBuilder(
                TestMachine.NATIVE.resolve("bin/rekindle-worker").toString(),
                "--state",
                state.toString(),
                "--mib",
                "24",
                "--pieces",
                "6");
        builder.environment()
                .put(
                        "LD_LIBRARY_PATH",
                        TestMachine.LIBRARY_FOLDER.resolve("simcuda").toString());
        Path images = folder.resolve("images");
        try (Rekindle rekindle = TestMachine.rekindle(folder).build()) {
            Process process = rekindle.prepare(builder).start();
            try {
                Worker.await("the worker", () -> state.toFile().length() > 0);
                CheckpointResult dumped = rekindle.checkpoint(CheckpointRequest.of(process.pid(), images));
                assertThat(dumped.statistics().processes())
                        .singleElement()
                        .extracting(ProcessStatistics::mode)
                        .isEqualTo(Mode.OFFLOAD);
                process.waitFor();
                Worker.await("the pid to be free", () -> !Files.exists(Path.of("/proc/" + process.pid())));
                RestoredProcess restored = rekindle.restore(RestoreRequest.of(images));
                assertThat(restored.pid()).isEqualTo(process.pid());
            } finally {
                ProcessHandle.of(process.pid()).ifPresent(ProcessHandle::destroyForcibly);
            }
        }
    }

    @Test
    void whatIsSetAlreadyStays() {
        try (Rekindle rekindle = Rekindle.create()) {
            File log = folder.resolve("log").toFile();
            ProcessBuilder builder = new ProcessBuilder("setsid", "sleep", "1").redirectOutput(Redirect.appendTo(log));
            builder.environment().put("LD_PRELOAD", "/lib/other.so");
            rekindle.prepare(rekindle.prepare(builder));
            assertThat(builder.command()).containsExactly("setsid", "sleep", "1");
            assertThat(builder.environment()).containsEntry("LD_PRELOAD", rekindle.agent() + ":/lib/other.so");
            assertThat(builder.redirectInput().file()).isEqualTo(new File("/dev/null"));
            assertThat(builder.redirectOutput().file()).isEqualTo(log);
            assertThat(builder.redirectError().file()).isEqualTo(new File("/dev/null"));
            assertThatThrownBy(() -> rekindle.prepare(new ProcessBuilder()))
                    .isInstanceOf(IllegalArgumentException.class);
        }
    }
}
