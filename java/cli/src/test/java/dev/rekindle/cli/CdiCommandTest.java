// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import dev.rekindle.cli.Cli.Outcome;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What is printed, what is written, and what is said of it. */
class CdiCommandTest {
    @TempDir
    private Path folder;

    private Outcome cdi(String... options) {
        var words = new String[options.length + 1];
        words[0] = "cdi";
        System.arraycopy(options, 0, words, 1, options.length);
        return new Cli(folder).succeed(words);
    }

    @Test
    void theSpecificationIsPrintedAloneOrWritten() throws Exception {
        String printed = cdi().out();
        assertThat(AgentDevice.isSpecification(printed)).isTrue();
        Path file = folder.resolve("rekindle.json");
        assertThat(cdi("--output", file.toString()).out()).isEmpty();
        assertThat(file).content().isEqualTo(printed);
    }

    @Test
    void theDocumentSaysWhatIsWhere() throws Exception {
        Path file = folder.resolve("rekindle.json");
        JsonObject document = cdi("--output", file.toString(), "--json").json();
        assertThat(document.get("output").getAsString()).isEqualTo(file.toString());
        assertThat(document.getAsJsonArray("devices"))
                .singleElement()
                .satisfies(device -> assertThat(device.getAsString()).isEqualTo("rekindle.dev/agent=all"));
        assertThat(Path.of(document.get("agent").getAsString()))
                .exists()
                .isAbsolute()
                .hasFileName("librekindle-preload.so");
        assertThat(document.get("specification")).isEqualTo(JsonParser.parseString(Files.readString(file)));

        JsonObject printed = cdi("--json", "--agent-minimum", "4M").json();
        assertThat(printed.get("output").getAsString()).isEmpty();
        assertThat(printed.get("specification").toString()).contains("REKINDLE_AGENT_MINIMUM=4M");
    }
}
