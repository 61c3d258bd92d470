// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The native side as this library calls it, built with the address and undefined behaviour sanitizers. */
class AddressSanitizerTest {
    private static final Path BUILD = Path.of(System.getProperty("rekindle.native.asan"));

    @TempDir
    private Path folder;

    /** A whole life: check, pool, checkpoint, restore, image, failures, in a folder and against a worker. */
    static final class WholeLife {
        public static void main(String[] arguments) {
            Path folder = Path.of(arguments[0]);
            long pid = Long.parseLong(arguments[1]);
            // CRIU itself is no sanitizer build, and loads the plugin of the other one.
            Rekindle rekindle = TestMachine.rekindle(folder)
                    .pluginDirectory(TestMachine.LIBRARY_FOLDER.resolve("criu"))
                    .build();
            rekindle.check();
            try (WarmPool pool = rekindle.openPool()) {
                pool.acquire(0).close();
                pool.statistics();
                rekindle.checkpoint(CheckpointRequest.builder(pid, Path.of("images"))
                        .progress((done, total, phase) -> {})
                        .build());
                Worker.await("the dumped process", () -> !Files.exists(Path.of("/proc/" + pid)));
                pool.prefetch(folder.resolve("images"));
                rekindle.restoreAsync(RestoreRequest.of(Path.of("images")))
                        .result()
                        .join();
                CheckpointImage.open(folder.resolve("images")).verify((done, total, phase) -> {});
                ContextLease open = pool.acquire(0);
                pool.close();
                open.close();
            }
            try {
                rekindle.restore(RestoreRequest.of(Path.of("none")));
            } catch (NoImageException expected) {
                System.out.println("refused: " + expected.getMessage());
            }
            rekindle.close();
            System.out.println("done with " + Rekindle.nativeVersion());
        }
    }

    @Test
    void noErrorsAreFound() throws Exception {
        Path library = BUILD.resolve("lib/librekindle.so");
        assumeTrue(Files.exists(library), "there is no sanitizer build in " + BUILD);
        try (Worker worker = Worker.start(folder, "worker")) {
            String before = worker.checksum();
            ChildJvm.Output output = ChildJvm.run(
                    WholeLife.class,
                    List.of(
                            "--enable-native-access=ALL-UNNAMED",
                            "--illegal-native-access=deny",
                            "-Drekindle.library.path=" + library,
                            "-Drekindle.native.build=" + TestMachine.NATIVE,
                            "-Drekindle.native.source=" + System.getProperty("rekindle.native.source")),
                    Map.of(
                            "LD_PRELOAD", runtime("libasan.so") + ":" + runtime("libubsan.so"),
                            "ASAN_OPTIONS",
                                    "detect_leaks=0:handle_segv=0:allow_user_segv_handler=1:handle_sigfpe=0"
                                            + ":use_sigaltstack=0",
                            "UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1"),
                    folder.toString(),
                    String.valueOf(worker.pid()));
            assertThat(output.text()).doesNotContain("ERROR: AddressSanitizer").doesNotContain("runtime error");
            assertThat(output.text()).contains("refused: ").contains("done with 0.1.");
            assertThat(output.exitCode()).isZero();
            assertThat(worker.checksum()).isEqualTo(before);
        }
    }

    private static String runtime(String name) throws IOException {
        Process compiler = new ProcessBuilder("cc", "-print-file-name=" + name).start();
        return new String(compiler.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
    }
}
