// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import com.google.gson.JsonParseException;
import dev.rekindle.pages.Page;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "report",
        mixinStandardHelpOptions = true,
        description = "Make a page with charts, and with nothing outside it, of what 'rekindle bench --json' printed.")
final class ReportCommand implements Callable<Integer> {
    private static final int BYTES_MAX = 64 << 20;

    private static final String MISSING = "some of it is missing";

    /** Where the parser has come to. */
    private static final Pattern LINE = Pattern.compile("\\bat line (\\d+) column \\d+");

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
        WholeFile.write(page, made(read()));
        output.print(new Document(page.toAbsolutePath()), "wrote " + page);
        return 0;
    }

    private BenchResult read() throws IOException {
        if (!Files.exists(document)) {
            throw new IllegalArgumentException("there is no " + document);
        }
        if (Files.isDirectory(document)) {
            throw wrong("it is a folder", null);
        }
        try {
            BenchResult result = Json.read(text(), BenchResult.class);
            if (result != null) {
                return result;
            }
        } catch (CharacterCodingException other) {
            throw wrong("it is not UTF-8", other);
        } catch (JsonParseException other) {
            throw wrong(where(other), other);
        } catch (FileSystemException named) {
            throw named;
        } catch (IOException failure) {
            throw wrong("it cannot be read (" + RekindleCommand.sentence(failure) + ")", failure);
        }
        throw wrong(MISSING, null);
    }

    /** Of a device or pipe no more than a document can be. */
    private String text() throws IOException {
        try (InputStream stream = Files.newInputStream(document)) {
            byte[] bytes = stream.readNBytes(BYTES_MAX + 1);
            if (bytes.length > BYTES_MAX) {
                throw wrong("it is larger than " + Texts.bytes(BYTES_MAX), null);
            }
            return StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(bytes))
                    .toString();
        }
    }

    /** What the page does not need may be missing: documents of other versions have less, or more. */
    private String made(BenchResult result) {
        try {
            return BenchPage.of(result);
        } catch (NullPointerException | IndexOutOfBoundsException lacking) { // the parser leaves null what is not there
            throw wrong(MISSING, lacking);
        }
    }

    /** The parser's own words are about its classes. */
    private static String where(JsonParseException wrong) {
        Matcher line = LINE.matcher(String.valueOf(wrong.getMessage()));
        return line.find() ? "line " + line.group(1) + " shows" : "one of its values shows";
    }

    private IllegalArgumentException wrong(String what, @Nullable Exception cause) {
        return new IllegalArgumentException(
                document + " is no document of 'rekindle bench --json', as " + what
                        + ": name a file that holds all that it printed",
                cause);
    }
}
