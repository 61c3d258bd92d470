// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static dev.rekindle.cli.Finding.Status.FAIL;
import static dev.rekindle.cli.Finding.Status.WARN;

import java.lang.foreign.Arena;
import java.lang.foreign.SymbolLookup;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The driver and the GPUs. Without any, processes that do not use CUDA can still be checkpointed. */
final class GpuDoctor {
    private static final Pattern VERSION = Pattern.compile("\\b(\\d{3}(\\.\\d+)+)\\b");
    private static final String OLDEST = "570";

    private final Optional<String> named;
    private final Sources sources;
    private final List<Finding> findings = new ArrayList<>();

    /**
     * Where the driver says what it is.
     *
     * @param version its file
     * @param smi its program, where it is installed
     * @param mps what the programs of MPS are called, from the beginning on
     */
    record Sources(String version, Optional<Path> smi, String mps) {
        static Sources ofTheMachine() {
            return new Sources("/proc/driver/nvidia/version", Machine.program("nvidia-smi"), "nvidia-cuda-mps");
        }
    }

    /** Of the driver that the settings name, if they do. */
    GpuDoctor(Optional<String> named, Sources sources) {
        this.named = named;
        this.sources = sources;
    }

    List<Finding> examine() {
        Optional<String> version = Machine.text(sources.version()).map(text -> {
            Matcher matcher = VERSION.matcher(text);
            return matcher.find() ? matcher.group(1) : text;
        });
        version.ifPresent(text -> findings.add(Finding.of(
                FAIL,
                Machine.version(text) >= Machine.version(OLDEST),
                "driver",
                "NVIDIA " + text,
                OLDEST + " or newer, which has the checkpoint calls",
                "install a newer driver")));
        if (version.isEmpty() && named.isEmpty()) {
            findings.add(new Finding(
                    "driver",
                    WARN,
                    "no NVIDIA driver is loaded",
                    "one from " + OLDEST + " on, for processes that use CUDA",
                    "nothing where only others are checkpointed"));
        } else {
            library(named.orElse("libcuda.so.1"));
        }
        gpus();
        return findings;
    }

    private void library(String name) {
        try (Arena arena = Arena.ofConfined()) {
            SymbolLookup library = name.contains("/")
                    ? SymbolLookup.libraryLookup(Path.of(name), arena)
                    : SymbolLookup.libraryLookup(name, arena);
            boolean has = library.find("cuCheckpointProcessLock").isPresent();
            findings.add(Finding.of(
                    FAIL,
                    has,
                    "checkpoint calls",
                    name + (has ? " has them" : " has none"),
                    "cuCheckpointProcess*, which drivers from " + OLDEST + " on have",
                    "install a newer driver"));
        } catch (IllegalArgumentException missing) {
            findings.add(new Finding(
                    "checkpoint calls",
                    FAIL,
                    name + " cannot be loaded",
                    "the driver's library",
                    "install libcuda.so.1, or name it with --cuda-driver"));
        }
    }

    private void gpus() {
        Optional<Path> smi = sources.smi();
        if (smi.isPresent()) {
            String query = "--query-gpu=name,memory.free,memory.total,persistence_mode,mig.mode.current";
            Optional<String> answer = Machine.output(smi.get().toString(), query, "--format=csv,noheader");
            if (answer.isEmpty()) {
                findings.add(new Finding(
                        "GPU",
                        WARN,
                        smi.get() + " did not answer within " + Machine.LIMIT.toSeconds() + " s",
                        "a driver that answers",
                        "see what the kernel's log (dmesg) says of the driver"));
            }
            answer.stream().flatMap(String::lines).forEach(line -> {
                String[] values = line.split(" *, *", -1);
                if (values.length == 5) {
                    gpu(values[0], values[1], values[2], values[3].equals("Enabled"), values[4].equals("Enabled"));
                } else if (!line.isBlank()) { // "No devices were found", for example
                    findings.add(new Finding(
                            "GPU",
                            WARN,
                            smi.get() + " says: " + line,
                            "a GPU, for processes that use CUDA",
                            "see what the kernel's log (dmesg) says of the driver"));
                }
            });
        }
        boolean service = Machine.processNamed(sources.mps());
        findings.add(Finding.of(
                WARN,
                !service,
                "MPS",
                service ? "nvidia-cuda-mps-control runs" : "not running",
                "processes that use the GPU by themselves; the driver does not checkpoint clients of MPS",
                "stop it: echo quit | nvidia-cuda-mps-control"));
    }

    private void gpu(String name, String free, String total, boolean persistent, boolean parted) {
        findings.add(Finding.pass("GPU", name + ", " + free + " of " + total + " free"));
        findings.add(Finding.of(
                WARN,
                persistent,
                "persistence mode",
                persistent ? "enabled" : "disabled",
                "enabled, or the first context after a pause takes seconds",
                "nvidia-smi -pm 1"));
        findings.add(Finding.of(
                WARN,
                !parted,
                "MIG",
                parted ? "enabled" : "disabled",
                "whole GPUs; checkpoints of parted ones were not tried",
                "nvidia-smi -mig 0"));
    }
}
