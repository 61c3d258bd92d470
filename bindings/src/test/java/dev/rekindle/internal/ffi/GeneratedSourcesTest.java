// SPDX-License-Identifier: MIT
package dev.rekindle.internal.ffi;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * What jextract makes of the header is what is committed. With -Pjextract only, which needs one; what the compiler makes of
 * it is compared always.
 */
class GeneratedSourcesTest {
    @Test
    void committedSourcesAreWhatJextractMakesOfTheHeader(@TempDir Path folder) throws Exception {
        Optional<Path> jextract = jextract();
        assertThat(jextract).as("jextract in PATH or in jextract.home").isPresent();
        CompilerAgreementTest.run(
                jextract.get().toString(),
                "@rekindle.jextract",
                "--output",
                folder.toString(),
                System.getProperty("rekindle.header"));
        Map<String, String> generated = sources(folder);
        Map<String, String> committed = sources(Path.of("src/main/java"));
        committed.remove("module-info.java");
        assertThat(committed).containsOnlyKeys(generated.keySet());
        generated.forEach((name, text) -> assertThat(committed.get(name).equals(text))
                .as("%s is as jextract generates it; run mvn -Pjextract generate-sources", name)
                .isTrue());
    }

    @Test
    void argumentsNameAllThatTheHeaderDeclares(@TempDir Path folder) throws Exception {
        Path all = folder.resolve("all");
        CompilerAgreementTest.run(
                jextract().orElseThrow().toString(),
                "--dump-includes",
                all.toString(),
                System.getProperty("rekindle.header"));
        List<String> declared = includes(all);
        declared.removeAll(List.of("--include-struct rekindle_operation", "--include-struct rekindle_pool")); // opaque
        assertThat(includes(Path.of("rekindle.jextract"))).containsExactlyInAnyOrderElementsOf(declared);
    }

    /** Of names of ours, without the comment that says from which header. */
    private static List<String> includes(Path file) throws IOException {
        try (Stream<String> lines = Files.lines(file)) {
            return lines.map(line -> line.replaceFirst(" *#.*", ""))
                    .filter(line -> line.matches("--include-\\S+ (?i)rekindle_.*"))
                    .collect(Collectors.toCollection(ArrayList::new));
        }
    }

    private static Optional<Path> jextract() {
        String home = System.getProperty("jextract.home", "");
        Stream<Path> folders = home.isBlank()
                ? Stream.of(System.getenv("PATH").split(":")).map(Path::of)
                : Stream.of(Path.of(home, "bin"));
        return folders.map(folder -> folder.resolve("jextract"))
                .filter(Files::isExecutable)
                .findFirst();
    }

    /** The sources without comments, which differ between releases of LLVM. */
    private static Map<String, String> sources(Path folder) throws IOException {
        var sources = new TreeMap<String, String>();
        try (Stream<Path> files = Files.walk(folder)) {
            for (Path file : (Iterable<Path>) files.filter(Files::isRegularFile)::iterator) {
                String text = Files.readString(file).replaceAll("(?s)/\\*\\*.*?\\*/", "");
                sources.put(folder.relativize(file).toString(), text);
            }
        }
        return sources;
    }
}
