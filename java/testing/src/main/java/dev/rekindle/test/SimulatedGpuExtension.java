// SPDX-License-Identifier: MIT
package dev.rekindle.test;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.ExtensionContext.Namespace;
import org.junit.jupiter.api.extension.ParameterContext;
import org.junit.jupiter.api.extension.ParameterResolver;

/**
 * Gives tests a {@link SimulatedGpu} each, as a parameter, with a folder of its own that is removed at the end of the test.
 * The driver is unpacked once. Tests may run side by side.
 */
public final class SimulatedGpuExtension implements ParameterResolver {
    private static final Namespace NAMESPACE = Namespace.create(SimulatedGpuExtension.class);

    /** For JUnit. */
    public SimulatedGpuExtension() {}

    @Override
    public boolean supportsParameter(ParameterContext parameter, ExtensionContext context) {
        return parameter.getParameter().getType() == SimulatedGpu.class;
    }

    @Override
    public Object resolveParameter(ParameterContext parameter, ExtensionContext context) {
        Unpacked unpacked = context.getRoot()
                .getStore(NAMESPACE)
                .computeIfAbsent(Unpacked.class, type -> new Unpacked(Programs.unpack(makeFolder())), Unpacked.class);
        // Of the test, or of the class for its constructor and static methods.
        return context.getStore(NAMESPACE)
                .computeIfAbsent(
                        Used.class, type -> new Used(new SimulatedGpu(unpacked.programs, makeFolder())), Used.class)
                .gpu;
    }

    /** JUnit closes what it stores. */
    private record Unpacked(Programs programs) implements AutoCloseable {
        @Override
        public void close() {
            SimulatedGpu.delete(programs.folder());
        }
    }

    private record Used(SimulatedGpu gpu) implements AutoCloseable {
        @Override
        public void close() {
            gpu.close();
            SimulatedGpu.delete(gpu.folder());
        }
    }

    /** Only the present user can write to it, as the library wants it of a driver. */
    private static Path makeFolder() {
        try {
            return Files.createTempDirectory("rekindle-test-");
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }
}
