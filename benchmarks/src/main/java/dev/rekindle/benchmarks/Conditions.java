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

/**
 * Under which conditions results were measured.
 *
 * @param gpu name of the GPU, with SIMULATED where it is
 * @param driver CUDA version of the driver
 * @param criu version of CRIU
 * @param stockCriu version of the CRIU of the stock side
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

    /** Speaks to the driver, so it is called after the benchmarks: a process that holds the GPU makes others faster. */
    static Conditions now() throws IOException {
        String[] driver = askDriver();
        return new Conditions(
                Machine.simulated() && !driver[0].startsWith("SIMULATED") ? "SIMULATED " + driver[0] : driver[0],
                driver[1],
                firstLine(Machine.CRIU.toString(), "--version"),
                firstLine(Machine.STOCK_CRIU.toString(), "--version"),
                firstLine("uname", "-r"),
                Runtime.getRuntime().availableProcessors(),
                System.getProperty("java.vm.version"),
                "restores: as the cache parameter says, images in " + Machine.DISK + "; copies: as the source says",
                Machine.RESTORE_MIB,
                Machine.COPY_BYTES >> 20,
                Instant.now().truncatedTo(ChronoUnit.SECONDS).toString());
    }

    void write(Path folder) throws IOException {
        Files.createDirectories(folder);
        Files.writeString(folder.resolve("conditions.json"), GSON.toJson(this) + "\n");
    }

    static Conditions read(Path folder) throws IOException {
        return GSON.fromJson(Files.readString(folder.resolve("conditions.json")), Conditions.class);
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

    private static String firstLine(String... command) throws IOException {
        Process process;
        try {
            process = new ProcessBuilder(command).start();
        } catch (IOException absent) {
            return "none"; // benchmarks without restores need no CRIU
        }
        String text = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        return text.lines().findFirst().orElse("unknown").replaceFirst("^Version: *", "");
    }
}
