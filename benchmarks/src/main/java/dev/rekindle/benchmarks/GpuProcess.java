// SPDX-License-Identifier: MIT
package dev.rekindle.benchmarks;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/** The worker program, which holds device memory. */
record GpuProcess(Path state, long pid) {
    static GpuProcess start(Path folder, boolean agent, int mebibytes) throws IOException {
        Path state = folder.resolve("state");
        ProcessBuilder builder = new ProcessBuilder(
                        "setsid",
                        program("rekindle-worker"),
                        "--state",
                        state.toString(),
                        "--mib",
                        String.valueOf(mebibytes))
                .redirectInput(new File("/dev/null"))
                .redirectErrorStream(true)
                .redirectOutput(folder.resolve("worker.log").toFile());
        if (agent) {
            builder.environment()
                    .put(
                            "LD_PRELOAD",
                            Machine.NATIVE.resolve("lib/librekindle-preload.so").toString());
        }
        if (Machine.simulated()) {
            builder.environment()
                    .put(
                            "LD_LIBRARY_PATH",
                            Machine.NATIVE.resolve("lib/simcuda").toString());
        }
        Process process = builder.start();
        for (int i = 0; !(Files.exists(state) && Files.size(state) > 0); i++) {
            if (i > 6000 || !process.isAlive()) {
                throw new IOException("the worker did not start: " + Files.readString(folder.resolve("worker.log")));
            }
            pause();
        }
        GpuProcess worker = new GpuProcess(state, process.pid());
        worker.ask("wait-ready");
        return worker;
    }

    String ask(String command) throws IOException {
        Process control = new ProcessBuilder(
                        program("rekindle-worker-control"), "--state", state.toString(), "--timeout", "300", command)
                .redirectErrorStream(true)
                .start();
        String answer = new String(control.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
        try {
            if (control.waitFor() != 0) {
                throw new IOException("the worker did not answer to " + command + ": " + answer);
            }
        } catch (InterruptedException interrupt) {
            throw new IOException(interrupt);
        }
        return answer;
    }

    void end() throws IOException {
        ProcessHandle.of(pid).ifPresent(ProcessHandle::destroyForcibly);
        awaitEnd();
    }

    /** Until its process id is free. */
    void awaitEnd() throws IOException {
        for (int i = 0; Files.exists(Path.of("/proc/" + pid)); i++) {
            if (i > 6000) {
                throw new IOException("process " + pid + " does not end");
            }
            pause();
        }
    }

    private static void pause() throws IOException {
        try {
            Thread.sleep(10);
        } catch (InterruptedException interrupt) {
            throw new IOException(interrupt);
        }
    }

    private static String program(String name) {
        return Machine.NATIVE.resolve("bin").resolve(name).toString();
    }
}
