// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.params.provider.Arguments.arguments;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import dev.rekindle.AgentState;
import dev.rekindle.CudaState;
import dev.rekindle.ErrorCode;
import dev.rekindle.ObstacleKind;
import dev.rekindle.PhaseKind;
import dev.rekindle.cli.Cli.Outcome;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.ClosedByInterruptException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.Objects;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/** What --json prints is of the schema, which has the names of the library. */
class SchemaTest {
    @Test
    void pathsOfDocumentsAreAbsolute() {
        assertThat(Json.text(new PoolCommand.Images(Path.of("images"), true)))
                .contains("\"directory\": \"" + Path.of("images").toAbsolutePath() + "\"");
    }

    /** Those of commands that need neither a pool nor a process. */
    @ParameterizedTest
    @CsvSource({"check --json, usable", "metrics --json, runs"})
    void documentsWithoutAPool(String command, String member, @TempDir Path folder) {
        Outcome outcome = new Cli(folder).run(command.split(" ", -1));
        assertThat(outcome.json().has(member)).as(outcome.out()).isTrue();
    }

    /** Who reads the document and who reads the exit status are told the same. */
    @ParameterizedTest
    @MethodSource
    void codeAndExitStatusAgree(Throwable failure, ErrorCode code) {
        int status = ExitStatus.of(failure);
        assertThat(status).isEqualTo(ExitStatus.of(code));
        assertThat(Json.Failure.of(failure, status, "").error().code()).isEqualTo(code);
    }

    static Stream<Arguments> codeAndExitStatusAgree() {
        return Stream.of(
                arguments(new AccessDeniedException("/x"), ErrorCode.PERMISSION),
                arguments(new InterruptedException(), ErrorCode.CANCELLED),
                arguments(new ClosedByInterruptException(), ErrorCode.CANCELLED),
                arguments(new IllegalArgumentException("x"), ErrorCode.INVALID_ARGUMENT),
                arguments(new FileSystemException("/x", null, "Read-only file system"), ErrorCode.PERMISSION),
                arguments(new UncheckedIOException(new AccessDeniedException("/x")), ErrorCode.PERMISSION),
                arguments(new IOException("x"), ErrorCode.INTERNAL));
    }

    @Test
    void schemaHasTheNamesOfTheLibrary() throws Exception {
        JsonObject documents = JsonParser.parseString(new String(
                        Objects.requireNonNull(Json.class.getResourceAsStream("rekindle-schema.json"))
                                .readAllBytes(),
                        StandardCharsets.UTF_8))
                .getAsJsonObject()
                .getAsJsonObject("$defs");
        JsonObject error = documents
                .getAsJsonObject("failure")
                .getAsJsonObject("properties")
                .getAsJsonObject("error")
                .getAsJsonObject("properties");
        assertThat(names(error.getAsJsonObject("code"))).isEqualTo(names(ErrorCode.values()));
        assertThat(names(error.getAsJsonObject("phase"))).isEqualTo(names(PhaseKind.values()));
        JsonObject tree = documents.getAsJsonObject("check_tree").getAsJsonObject("properties");
        JsonObject process = entries(tree.getAsJsonObject("processes"));
        JsonObject obstacle = entries(tree.getAsJsonObject("obstacles"));
        assertThat(names(process.getAsJsonObject("cuda"))).isEqualTo(names(CudaState.values()));
        assertThat(names(process.getAsJsonObject("agent"))).isEqualTo(names(AgentState.values()));
        assertThat(names(obstacle.getAsJsonObject("kind"))).isEqualTo(names(ObstacleKind.values()));
        for (ErrorCode code : ErrorCode.values()) {
            assertThat(ExitStatus.descriptions()).containsKey(String.valueOf(ExitStatus.of(code)));
        }
    }

    private static JsonObject entries(JsonObject list) {
        return list.getAsJsonObject("items").getAsJsonObject("properties");
    }

    private static Set<String> names(JsonObject list) {
        return list.getAsJsonArray("enum").asList().stream()
                .map(JsonElement::getAsString)
                .collect(Collectors.toSet());
    }

    private static Set<String> names(Enum<?>... values) {
        return Arrays.stream(values)
                .map(value -> value.name().toLowerCase(Locale.ROOT))
                .collect(Collectors.toSet());
    }
}
