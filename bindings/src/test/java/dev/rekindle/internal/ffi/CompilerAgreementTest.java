// SPDX-License-Identifier: MIT
package dev.rekindle.internal.ffi;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.lang.foreign.GroupLayout;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.PaddingLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Pattern;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Compares every struct and constant of the generated classes with what the C compiler makes of the header. It does not
 * need jextract: it fails when somebody changes the header and forgets to generate the bindings again.
 */
class CompilerAgreementTest {
    private static final String PACKAGE = CompilerAgreementTest.class.getPackageName();
    private static final Path HEADER = Path.of(System.getProperty("rekindle.header"));

    @TempDir
    static Path folder;

    private static List<String> structs;
    private static List<String> constants;
    private static List<String> functions;
    private static Map<String, Long> compiler;

    @BeforeAll
    static void askTheCompiler() throws Exception {
        structs = included("struct");
        constants = included("constant");
        functions = included("function");
        var source = new StringBuilder("#include <stddef.h>\n#include <stdio.h>\n#include \"rekindle.h\"\n");
        source.append("#define SHOW(name, value) printf(\"%s %lld\\n\", name, (long long)(value))\nint main(void)\n{\n");
        for (String struct : structs) {
            show(source, struct, "sizeof(struct %s)".formatted(struct));
            for (MemoryLayout member : layout(struct).memberLayouts()) {
                if (member instanceof PaddingLayout) {
                    continue;
                }
                String name = member.name().orElseThrow();
                show(source, struct + "." + name, "offsetof(struct %s, %s)".formatted(struct, name));
                show(source, struct + "#" + name, "sizeof(((struct %s *)0)->%s)".formatted(struct, name));
            }
        }
        for (String constant : constants) {
            show(source, constant, constant);
        }
        Path program = folder.resolve("layouts");
        Files.writeString(folder.resolve("layouts.c"), source.append("return 0;\n}\n"));
        run("cc", "-I" + HEADER.getParent(), "-o", program.toString(), program + ".c");
        compiler = new TreeMap<>();
        run(program.toString()).lines().forEach(line -> {
            String[] words = line.split(" ");
            compiler.put(words[0], Long.valueOf(words[1]));
        });
    }

    @Test
    void structsHaveTheSizesAndOffsetsOfTheCompiler() throws Exception {
        assertThat(structs).hasSizeGreaterThan(10);
        for (String struct : structs) {
            GroupLayout layout = layout(struct);
            assertThat(layout.byteSize()).as("sizeof %s", struct).isEqualTo(compiler.get(struct));
            long end = 0;
            for (MemoryLayout member : layout.memberLayouts()) {
                if (member instanceof PaddingLayout) {
                    // More padding than alignment asks for would hide a member that the bindings lack.
                    assertThat(member.byteSize()).as("padding in %s", struct).isLessThan(8);
                } else {
                    String name = member.name().orElseThrow();
                    assertThat(end).as("offset of %s.%s", struct, name).isEqualTo(compiler.get(struct + "." + name));
                    assertThat(member.byteSize())
                            .as("size of %s.%s", struct, name)
                            .isEqualTo(compiler.get(struct + "#" + name));
                }
                end += member.byteSize();
            }
            assertThat(end).as("end of %s", struct).isEqualTo(compiler.get(struct));
        }
    }

    @Test
    void constantsHaveTheValuesOfTheCompiler() throws Exception {
        assertThat(constants).hasSizeGreaterThan(50);
        for (String constant : constants) {
            int value = (int) RekindleNative.class.getMethod(constant).invoke(null);
            assertThat((long) value).as(constant).isEqualTo(compiler.get(constant));
        }
    }

    @Test
    void everyNameOfTheHeaderIsBound() throws Exception {
        String text = Files.readString(HEADER).replaceAll("(?s)/\\*.*?\\*/", "");
        var names = new TreeSet<String>();
        var matcher = Pattern.compile("\\b(REKINDLE_[A-Z_]+\\b(?=\\s*=)|(?<=#define )REKINDLE_[A-Z_]+ +\\d"
                        + "|(?<=struct )rekindle_\\w+(?= \\{)|\\brekindle_\\w+(?=\\())")
                .matcher(text);
        while (matcher.find()) {
            names.add(matcher.group().replaceAll(" +\\d$", ""));
        }
        // jextract leaves out a struct that has the name of a function.
        assertThat(structs).doesNotContainAnyElementsOf(functions);
        assertThat(text).doesNotContainPattern("(?s)struct (rekindle_\\w+) \\{.*\\b\\1\\(");
        var bound = new TreeSet<String>(structs);
        bound.addAll(constants);
        bound.addAll(functions);
        assertThat(bound).isEqualTo(names);
    }

    private static List<String> included(String kind) throws IOException {
        var names = new ArrayList<String>();
        for (String line : Files.readAllLines(Path.of("rekindle.jextract"))) {
            if (line.startsWith("--include-" + kind + " ")) {
                names.add(line.substring(line.indexOf(' ') + 1).trim());
            }
        }
        return names;
    }

    private static GroupLayout layout(String struct) throws ReflectiveOperationException {
        return (GroupLayout)
                Class.forName(PACKAGE + "." + struct).getMethod("layout").invoke(null);
    }

    private static void show(StringBuilder source, String name, String expression) {
        source.append("SHOW(\"%s\", %s);\n".formatted(name, expression));
    }

    static String run(String... command) throws IOException, InterruptedException {
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String output = new String(process.getInputStream().readAllBytes());
        assertThat(process.waitFor()).as("%s: %s", List.of(command), output).isZero();
        return output;
    }
}
