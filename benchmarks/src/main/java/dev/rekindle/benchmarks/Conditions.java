// SPDX-License-Identifier: MIT
package dev.rekindle.benchmarks;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Under which conditions results were measured.
 *
 * @param gpu name of the GPU, with SIMULATED where it is
 * @param driver CUDA version of the driver, and the version of its kernel module
 * @param criu version of CRIU, and whether it has our patches
 * @param stockCriu the same of the CRIU of the stock side
 * @param kernel release of the kernel
 * @param cores of the machine
 * @param java version of the runtime
 * @param cache what is known of the page cache
 * @param restoreMebibytes device memory of the restored process
 * @param copyMebibytes size of a measured copy
 * @param time when
 */
record Conditions(
        String gpu,
        String driver,
        String criu,
        String stockCriu,
        String kernel,
        int cores,
        String java,
        String cache,
        int restoreMebibytes,
        long copyMebibytes,
        String time) {
    private static final Gson GSON = new GsonBuilder().setPrettyPrinting().create();
    private static final int NAME_BYTES = 96;
    private static final Pattern MODULE = Pattern.compile("Kernel Module\\D.*?\\s(\\d+(?:\\.\\d+)+)");

    /** Speaks to the driver, so it is called after the benchmarks: a process that holds the GPU makes others faster. */
    static Conditions now() throws IOException {
        String[] driver = askDriver();
        return new Conditions(
                Machine.simulated() && !driver[0].startsWith("SIMULATED") ? "SIMULATED " + driver[0] : driver[0],
                driver[1] + module(),
                criu(Machine.CRIU),
                criu(Machine.STOCK_CRIU),
                firstLine("uname", "-r"),
                Runtime.getRuntime().availableProcessors(),
                System.getProperty("java.vm.version"),
                "cold: the image files, in " + Machine.DISK
                        + ", were dropped from the page cache, programs and libraries were not;"
                        + " warm: read before each run",
                Machine.RESTORE_MIB,
                Machine.COPY_BYTES >> 20,
                Instant.now().truncatedTo(ChronoUnit.SECONDS).toString());
    }

    void write(Path folder) throws IOException {
        Files.createDirectories(folder);
        Files.writeString(folder.resolve("conditions.json"), GSON.toJson(this) + "\n");
    }

    static Conditions read(Path file) throws IOException {
        return GSON.fromJson(Files.readString(file), Conditions.class);
    }

    /** What the kernel's part of the driver says of itself, where there is one and it is used. */
    private static String module() throws IOException {
        Path file = Path.of("/proc/driver/nvidia/version");
        return Machine.simulated() || !Files.isReadable(file) ? "" : moduleVersion(Files.readString(file));
    }

    /** From {@code NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build ...}. */
    static String moduleVersion(String text) {
        Matcher matcher = MODULE.matcher(text);
        return matcher.find() ? ", kernel module " + matcher.group(1) : "";
    }

    /** The version is the same with our patches and without. */
    private static String criu(Path program) throws IOException {
        String version = firstLine(program.toString(), "--version");
        if (version.equals("none")) {
            return version;
        }
        return version
                + (output(program.toString(), "restore", "--help").contains("--restore-threads")
                        ? " with patches"
                        : " without patches");
    }

    private static String[] askDriver() {
        try (Arena arena = Arena.ofConfined()) {
            Linker linker = Linker.nativeLinker();
            SymbolLookup library = SymbolLookup.libraryLookup(Machine.DRIVER, Arena.global());
            MemorySegment name = arena.allocate(NAME_BYTES);
            MemorySegment version = arena.allocate(ValueLayout.JAVA_INT);
            var initialise = linker.downcallHandle(
                    library.findOrThrow("cuInit"), FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.JAVA_INT));
            var getName = linker.downcallHandle(
                    library.findOrThrow("cuDeviceGetName"),
                    FunctionDescriptor.of(
                            ValueLayout.JAVA_INT, ValueLayout.ADDRESS, ValueLayout.JAVA_INT, ValueLayout.JAVA_INT));
            var getVersion = linker.downcallHandle(
                    library.findOrThrow("cuDriverGetVersion"),
                    FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.ADDRESS));
            int result = (int) initialise.invokeExact(0);
            result |= (int) getName.invokeExact(name, NAME_BYTES, 0);
            result |= (int) getVersion.invokeExact(version);
            if (result != 0) {
                throw new IllegalStateException("the driver returned " + result);
            }
            int number = version.get(ValueLayout.JAVA_INT, 0);
            return new String[] {name.getString(0), "CUDA " + number / 1000 + "." + number % 1000 / 10};
        } catch (RuntimeException | Error failure) {
            throw failure;
        } catch (Throwable impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    private static String firstLine(String... command) {
        try {
            return output(command).lines().findFirst().orElse("unknown").replaceFirst("^Version: *", "");
        } catch (IOException absent) {
            return "none"; // benchmarks without restores need no CRIU
        }
    }

    private static String output(String... command) throws IOException {
        Process process = new ProcessBuilder(command)
                .redirectError(ProcessBuilder.Redirect.DISCARD)
                .start();
        return new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    }
}
