// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The folder of which the jar of the platform and the Debian package take the licences has that of every linked library. */
class LicencesTest {
    @Test
    void everyLinkedLibraryHasItsLicence() throws Exception {
        Path source = Path.of(System.getProperty("rekindle.native.source"));
        Path libraries = source.resolve("cmake/libraries.cmake");
        var linked = Pattern.compile("find_library\\(\\w+_STATIC_LIBRARY lib([\\w-]+)\\.a")
                .matcher(Files.readString(libraries))
                .results()
                .map(found -> found.group(1))
                .toList();
        assertThat(linked).isNotEmpty();
        try (Stream<Path> licences = Files.list(source.resolve("licenses"))) {
            assertThat(licences.map(file -> file.getFileName().toString())).containsExactlyInAnyOrderElementsOf(linked);
        }
    }
}
