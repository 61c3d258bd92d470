// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;

/** A {@code criu} that answers questions about itself, and of a run keeps its arguments and its part of the environment, and fails. */
record FakeCriu(Path program, Path argumentFile, Path environmentFile) {
    static final String EVERY_OPTION = "--restore-threads --restore-thp";

    static FakeCriu create(Path folder, String version, String help) throws IOException {
        Path arguments = folder.resolve("arguments");
        Path environment = folder.resolve("environment");
        Path program = Files.createTempFile(
                folder, "criu", "", PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwxr-xr-x")));
        Files.writeString(program, """
                #!/bin/sh
                case "$*" in
                --version) echo "Version: %s" ;;
                "restore --help") echo "%s" ;;
                check) ;;
                *)
                    printf '%%s\\n' "$@" >%s
                    env | grep -E '^(REKINDLE|CRIU)_' >%s
                    exit 1
                    ;;
                esac
                """.formatted(version, help, arguments, environment));
        return new FakeCriu(program, arguments, environment);
    }

    List<String> arguments() throws IOException {
        return Files.readAllLines(argumentFile);
    }

    List<String> environment() throws IOException {
        return Files.readAllLines(environmentFile);
    }
}
