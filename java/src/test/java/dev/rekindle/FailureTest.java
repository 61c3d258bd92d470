// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.params.provider.Arguments.arguments;

import dev.rekindle.internal.ffi.RekindleNative;
import dev.rekindle.internal.ffi.rekindle_error;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Every code of the native library, and the exception that it becomes. */
class FailureTest {
    /** Those that have an exception of their own, whatever was tried. */
    private static final Map<ErrorCode, Class<? extends RekindleException>> BY_CODE = new EnumMap<>(Map.of(
            ErrorCode.PERMISSION, PermissionException.class,
            ErrorCode.INCOMPATIBLE, IncompatibleException.class,
            ErrorCode.NO_DRIVER, IncompatibleException.class,
            ErrorCode.CRIU_NOT_FOUND, IncompatibleException.class,
            ErrorCode.CORRUPT_IMAGE, CorruptImageException.class,
            ErrorCode.NO_IMAGE, NoImageException.class,
            ErrorCode.BUSY, BusyException.class,
            ErrorCode.PID_IN_USE, PidInUseException.class));

    private static final Map<Failure.Action, Class<? extends RekindleException>> BY_ACTION = new EnumMap<>(Map.of(
            Failure.Action.CHECKPOINT, CheckpointException.class,
            Failure.Action.RESTORE, RestoreException.class,
            Failure.Action.POOL, PoolException.class,
            Failure.Action.IMAGE, NoImageException.class,
            Failure.Action.CHECK, IncompatibleException.class));

    static Stream<Arguments> nativeCodes() {
        return Arrays.stream(RekindleNative.class.getMethods())
                .filter(method -> method.getName().startsWith("REKINDLE_ERROR_") && method.getParameterCount() == 0)
                .map(method -> arguments(method.getName().substring("REKINDLE_ERROR_".length()), value(method)));
    }

    private static int value(Method method) {
        try {
            return (int) method.invoke(null);
        } catch (ReflectiveOperationException failure) {
            throw new LinkageError(failure.getMessage(), failure);
        }
    }

    /** A code that the Java side has forgotten would be INTERNAL. */
    @ParameterizedTest
    @MethodSource("nativeCodes")
    void everyNativeCodeHasItsName(String name, int value) {
        assertThat(ErrorCode.of(value)).hasToString(name);
    }

    @Test
    void everyNameButOneIsANativeCode() {
        assertThat(nativeCodes().map(code -> code.get()[0]))
                .hasSize(ErrorCode.values().length - 1)
                .contains("BUSY", "PID_IN_USE")
                .doesNotContain(ErrorCode.NATIVE_LIBRARY.name());
        assertThat(ErrorCode.of(-4711)).isEqualTo(ErrorCode.INTERNAL);
    }

    @ParameterizedTest
    @MethodSource("nativeCodes")
    void everyCodeHasItsException(String name, int value) {
        ErrorCode code = ErrorCode.valueOf(name);
        for (Failure.Action action : Failure.Action.values()) {
            RekindleException exception = exception(action, value, "a sentence", "its log");
            assertThat(exception)
                    .as("%s of %s", code, action)
                    .isExactlyInstanceOf(BY_CODE.getOrDefault(code, BY_ACTION.get(action)))
                    .hasMessage("a sentence");
            assertThat(exception.code()).isEqualTo(code);
            assertThat(exception.phase()).isEqualTo(PhaseKind.COPY_OUT);
            assertThat(exception.criuLog()).isEqualTo("its log");
        }
    }

    /** The sealed hierarchy has no class that nothing becomes. */
    @Test
    void everyExceptionIsMade() {
        assertThat(Stream.concat(BY_CODE.values().stream(), BY_ACTION.values().stream())
                        .distinct())
                .containsExactlyInAnyOrderElementsOf(Arrays.stream(RekindleException.class.getPermittedSubclasses())
                        .filter(type -> type != NativeLibraryException.class)
                        .<Class<? extends RekindleException>>map(type -> type.asSubclass(RekindleException.class))
                        .toList());
    }

    @ParameterizedTest
    @EnumSource(Failure.Action.class)
    void aFailureWithoutASentenceGetsOne(Failure.Action action) {
        assertThat(exception(action, RekindleNative.REKINDLE_ERROR_GPU(), "", ""))
                .hasMessageContaining("code " + RekindleNative.REKINDLE_ERROR_GPU());
    }

    private static RekindleException exception(Failure.Action action, int code, String message, String log) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment error = arena.allocate(rekindle_error.layout());
            rekindle_error.code(error, code);
            rekindle_error.phase(error, RekindleNative.REKINDLE_PHASE_COPY_OUT());
            rekindle_error.message(error).setString(0, message);
            rekindle_error.criu_log(error).setString(0, log);
            return Failure.exception(action, code, error);
        }
    }
}
