// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import com.google.gson.JsonParseException;
import dev.rekindle.pages.Page;
import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "report",
        mixinStandardHelpOptions = true,
        description = "Make a page with charts, and with nothing outside it, of what 'rekindle bench --json' printed.")
final class ReportCommand implements Callable<Integer> {
    @Mixin
    private Output output;

    @Parameters(index = "0", paramLabel = "FILE.json", description = "The document.")
    private Path document;

    @Option(
            names = {"-o", "--output"},
            paramLabel = "FILE.html",
            required = true,
            description = "Where the page goes.")
    private Path page = Path.of("");

    /** What {@code --json} prints. */
    record Document(Path page) {}

    @Override
    public Integer call() throws IOException {
        Page.check(page, document);
        BenchPage.write(page, read());
        output.print(new Document(page.toAbsolutePath()), "wrote " + page);
        return 0;
    }

    /** Without the names of classes and addresses that the parser has in it. */
    private static String reason(JsonParseException other) {
        return String.valueOf(other.getMessage())
                .lines()
                .findFirst()
                .orElse("")
                .replaceFirst("^([a-z]+\\.)+[A-Za-z]+: ", "");
    }

    private BenchResult read() throws IOException {
        if (!Files.exists(document)) {
            throw new IllegalArgumentException("there is no " + document);
        }
        if (Files.isDirectory(document)) {
            throw new IllegalArgumentException(document + " is a folder, and no document of 'rekindle bench --json'");
        }
        try {
            BenchResult result = Json.read(Files.readString(document), BenchResult.class);
            if (result != null && result.sides() != null && result.conditions() != null) {
                return result;
            }
        } catch (CharacterCodingException other) {
            throw new IllegalArgumentException(
                    document + " is no document of 'rekindle bench --json': it is not UTF-8", other);
        } catch (JsonParseException other) {
            throw new IllegalArgumentException(
                    document + " is no document of 'rekindle bench --json': " + reason(other), other);
        }
        throw new IllegalArgumentException(document + " is no document of 'rekindle bench --json'");
    }
}
