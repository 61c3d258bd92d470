// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import com.google.gson.FieldNamingPolicy;
import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonDeserializationContext;
import com.google.gson.JsonDeserializer;
import com.google.gson.JsonElement;
import com.google.gson.JsonParseException;
import com.google.gson.JsonPrimitive;
import com.google.gson.JsonSerializer;
import dev.rekindle.ErrorCode;
import dev.rekindle.PhaseKind;
import dev.rekindle.RekindleException;
import java.lang.reflect.Type;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.format.DateTimeParseException;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * What {@code --json} prints: one document on standard output, also where the command fails. Its schema is
 * {@code rekindle-schema.json}, against which the tests hold every document that they get. Names have the unit at their end,
 * and paths are absolute: who reads it may be in another folder.
 */
final class Json {
    private static final Gson GSON = new GsonBuilder()
            .setFieldNamingPolicy(FieldNamingPolicy.LOWER_CASE_WITH_UNDERSCORES)
            .setPrettyPrinting()
            .disableHtmlEscaping()
            .registerTypeAdapter(Duration.class, (JsonSerializer<Duration>)
                    (value, type, context) -> new JsonPrimitive(value.toNanos() / 1e9))
            .registerTypeAdapter(Duration.class, (JsonDeserializer<Duration>)
                    (value, type, context) -> Duration.ofNanos(Math.round(value.getAsDouble() * 1e9)))
            .registerTypeAdapter(Instant.class, (JsonDeserializer<Instant>) Json::instant)
            .registerTypeHierarchyAdapter(Enum.class, (JsonDeserializer<Enum<?>>) Json::constant)
            .registerTypeAdapter(Instant.class, (JsonSerializer<Instant>)
                    (value, type, context) -> new JsonPrimitive(value.toString()))
            .registerTypeHierarchyAdapter(Path.class, (JsonSerializer<Path>) (value, type, context) ->
                    new JsonPrimitive(value.toAbsolutePath().toString()))
            .registerTypeHierarchyAdapter(Enum.class, (JsonSerializer<Enum<?>>)
                    (value, type, context) -> new JsonPrimitive(value.name().toLowerCase(Locale.ROOT)))
            // What is absent is an empty text in every document.
            .registerTypeAdapter(Optional.class, (JsonSerializer<Optional<?>>) (value, type, context) ->
                    value.<JsonElement>map(context::serialize).orElseGet(() -> new JsonPrimitive("")))
            .create();

    /** What a command that failed prints. */
    record Failure(Details error) {
        record Details(ErrorCode code, int exitStatus, String message, PhaseKind phase, List<String> criuLog) {}

        static Failure of(Throwable failure, int exitStatus, String sentence) {
            return switch (failure) {
                case RekindleException exception ->
                    of(exception.code(), exitStatus, sentence, exception.phase(), exception.criuLog());
                default -> of(ExitStatus.code(failure), exitStatus, sentence, PhaseKind.NONE, "");
            };
        }

        private static Failure of(ErrorCode code, int exitStatus, String sentence, PhaseKind phase, String criuLog) {
            return new Failure(new Details(
                    code, exitStatus, sentence, phase, criuLog.lines().toList()));
        }
    }

    private Json() {}

    static String text(Object document) {
        return GSON.toJson(document);
    }

    /** Reads what {@link #text} has written; null where that is nothing. */
    static <T> @Nullable T read(String text, Class<T> type) {
        return GSON.fromJson(text, type);
    }

    /** Likewise of a document of others, with their names. */
    static <T> @Nullable T readForeign(String text, Class<T> type) {
        return new Gson().fromJson(text, type);
    }

    private static Instant instant(JsonElement value, Type type, JsonDeserializationContext context) {
        try {
            return Instant.parse(value.getAsString());
        } catch (DateTimeParseException other) {
            throw new JsonParseException(value + " is no time", other);
        }
    }

    private static Enum<?> constant(JsonElement value, Type type, JsonDeserializationContext context) {
        for (Object constant : ((Class<?>) type).getEnumConstants()) {
            if (((Enum<?>) constant).name().toLowerCase(Locale.ROOT).equals(value.getAsString())) {
                return (Enum<?>) constant;
            }
        }
        throw new JsonParseException("there is no " + value + " here");
    }
}
