// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Supplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What is said where a machine cannot do it, or may not. */
class AvailabilityTest {
    @TempDir
    private Path folder;

    /** In a JVM of its own: the default settings are the environment's. */
    static final class Show {
        public static void main(String[] arguments) {
            System.out.println("available " + Rekindle.isAvailable());
            System.out.println("cause " + show(Rekindle.unavailabilityCause()));
            System.out.println("create "
                    + attempt(() -> {
                        try (Rekindle rekindle = Rekindle.create()) {
                            return show(rekindle.check());
                        }
                    }));
            if (arguments.length > 0) {
                long pid = Long.parseLong(arguments[0]);
                Path images = Path.of(arguments[1]);
                try (Rekindle rekindle = Rekindle.create()) {
                    System.out.println("checkpoint "
                            + attempt(() -> rekindle.checkpoint(CheckpointRequest.of(pid, images))
                                    .toString()));
                    System.out.println("restore "
                            + attempt(() ->
                                    rekindle.restore(RestoreRequest.of(images)).toString()));
                }
            }
        }

        private static String attempt(Supplier<String> action) {
            try {
                return action.get();
            } catch (RekindleException failure) {
                return show(Optional.of(failure));
            }
        }

        private static String show(Optional<RekindleException> failure) {
            return failure.map(one -> one.getClass().getSimpleName() + " " + one.code() + ": " + one.getMessage())
                    .orElse("none");
        }
    }

    @Test
    void machineThatCan() throws Exception {
        assertThat(show(TestMachine.LIBRARY_FOLDER, TestMachine.criu()))
                .contains("available true\n", "cause none\n", "create none\n");
    }

    /** The answer that it can is remembered; check() asks each time. */
    @Test
    void criuIsAskedOnce() throws Exception {
        Path calls = folder.resolve("calls");
        Path criu = Files.writeString(
                folder.resolve("criu"), "#!/bin/sh\necho $1 >>" + calls + "\nexec " + TestMachine.criu() + " \"$@\"\n");
        assertThat(criu.toFile().setExecutable(true)).isTrue();
        assertThat(show(TestMachine.LIBRARY_FOLDER, criu))
                .contains("available true\n", "cause none\n", "create none\n");
        assertThat(Files.readAllLines(calls).stream().filter("check"::equals)).hasSize(2);
    }

    @Test
    void machineWithoutCriu() throws Exception {
        assertThat(show(TestMachine.LIBRARY_FOLDER, folder.resolve("no-criu")))
                .contains(
                        "available false\n",
                        "cause IncompatibleException CRIU_NOT_FOUND: " + folder.resolve("no-criu"),
                        "create IncompatibleException CRIU_NOT_FOUND: ");
    }

    @Test
    void machineWithoutTheLibrary() throws Exception {
        assertThat(show(folder, TestMachine.criu()))
                .contains(
                        "available false\n",
                        "cause NativeLibraryException NATIVE_LIBRARY: ",
                        "create NativeLibraryException NATIVE_LIBRARY: ")
                .contains(folder.toString());
    }

    @Test
    void rootWithoutCapabilitiesIsDenied() throws Exception {
        Process process = new ProcessBuilder("sleep", "600").start();
        try {
            Path images = folder.resolve("images");
            String text = ChildJvm.run(
                            List.of("setpriv", "--bounding-set=-all", "--inh-caps=-all"),
                            Show.class,
                            options(TestMachine.LIBRARY_FOLDER),
                            List.of(),
                            Map.of("REKINDLE_CRIU", TestMachine.criu().toString()),
                            String.valueOf(process.pid()),
                            images.toString())
                    .text();
            assertThat(text)
                    .contains(
                            "available false\n",
                            "cause PermissionException PERMISSION: ",
                            "checkpoint PermissionException PERMISSION: ",
                            "restore PermissionException PERMISSION: ")
                    .contains("run as root");
            assertThat(images.resolve("dump.log")).doesNotExist();
            assertThat(process.isAlive()).isTrue();
        } finally {
            process.destroyForcibly();
        }
    }

    @Test
    void oldCriuIsRefused() throws Exception {
        Path old = FakeCriu.create(folder, "3.19", FakeCriu.EVERY_OPTION).program();
        Process process = new ProcessBuilder("sleep", "600").start();
        try (Rekindle rekindle = TestMachine.rekindle(folder).criu(old).build()) {
            assertThatThrownBy(() -> rekindle.checkpoint(CheckpointRequest.of(process.pid(), Path.of("images"))))
                    .isInstanceOfSatisfying(
                            IncompatibleException.class,
                            failure -> assertThat(failure.code()).isEqualTo(ErrorCode.INCOMPATIBLE))
                    .hasMessageContaining("CRIU 3.19")
                    .hasMessageContaining("4.1");
            assertThat(rekindle.check()).containsInstanceOf(IncompatibleException.class);
        } finally {
            process.destroyForcibly();
        }
    }

    @Test
    void missingDriverIsIncompatible() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder)
                        .cudaDriver(folder.resolve("libcuda.so.1"))
                        .build();
                Worker worker = Worker.start(folder, "worker")) {
            assertThatThrownBy(rekindle::openPool).satisfies(AvailabilityTest::isMissingDriver);
            assertThatThrownBy(() -> rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images"))))
                    .satisfies(AvailabilityTest::isMissingDriver);
            worker.advance();
        }
    }

    private static void isMissingDriver(Throwable failure) {
        assertThat(failure)
                .isInstanceOfSatisfying(
                        IncompatibleException.class,
                        driver -> assertThat(driver.code()).isEqualTo(ErrorCode.NO_DRIVER))
                .hasMessageContaining("libcuda.so.1");
    }

    private static List<String> options(Path library) {
        return List.of(
                "--enable-native-access=ALL-UNNAMED",
                "--illegal-native-access=deny",
                "-Drekindle.library.path=" + library);
    }

    private static String show(Path library, Path criu) throws Exception {
        return ChildJvm.run(Show.class, options(library), Map.of("REKINDLE_CRIU", criu.toString()))
                .text();
    }
}
