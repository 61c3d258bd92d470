// SPDX-License-Identifier: MIT
package dev.rekindle.test;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;

/** The simulated driver and the worker, unpacked into a folder. */
record Programs(Path folder) {
    private static final String PREFIX = "/META-INF/rekindle-test/linux-x86_64/";
    private static final String DRIVER = "lib/simcuda/libcuda.so.1";
    private static final String WORKER = "bin/rekindle-worker";
    private static final String CONTROL = "bin/rekindle-worker-control";

    static Programs unpack(Path folder) {
        try {
            for (String name : new String[] {DRIVER, WORKER, CONTROL}) {
                Path file = folder.resolve(name);
                Files.createDirectories(file.getParent());
                try (InputStream input = Programs.class.getResourceAsStream(PREFIX + name)) {
                    if (input == null) {
                        throw new IllegalStateException("this rekindle-test has no " + name);
                    }
                    Files.copy(input, file);
                }
                Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rwxr-xr-x"));
            }
            return new Programs(folder);
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    Path driver() {
        return folder.resolve(DRIVER);
    }

    Path worker() {
        return folder.resolve(WORKER);
    }

    Path control() {
        return folder.resolve(CONTROL);
    }
}
