// SPDX-License-Identifier: MIT
package dev.rekindle.spring;

import static org.assertj.core.api.Assertions.assertThat;

import dev.rekindle.CheckpointImage;
import dev.rekindle.CheckpointRequest;
import dev.rekindle.Prefetch;
import dev.rekindle.ProgressListener;
import dev.rekindle.Rekindle;
import dev.rekindle.RestoreRequest;
import dev.rekindle.RunObserver;
import dev.rekindle.RunRequestBuilder;
import dev.rekindle.RunStatistics;
import dev.rekindle.WarmPool;
import dev.rekindle.micrometer.RekindleMetrics;
import dev.rekindle.test.SimulatedGpu;
import dev.rekindle.test.SimulatedGpuExtension;
import dev.rekindle.test.Worker;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import java.lang.reflect.Constructor;
import java.lang.reflect.Executable;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Parameter;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.RecordComponent;
import java.lang.reflect.Type;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.concurrent.Executor;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.springframework.core.io.Resource;
import org.springframework.core.io.support.PathMatchingResourcePatternResolver;

/** Nothing public accepts null, and no list of a caller is kept. Of all libraries, here: this one has the others. */
@ExtendWith(SimulatedGpuExtension.class)
class PublicParametersTest {
    private static final List<String> EXPORTED =
            List.of("dev.rekindle", "dev.rekindle.test", "dev.rekindle.micrometer", "dev.rekindle.spring");

    /** What is not asked. Neither are parameters that say of themselves that they may be null. */
    private static boolean isExcepted(Executable executable) {
        Class<?> type = executable.getDeclaringClass();
        return
        // Programs implement these, and only the library calls them.
        type == ProgressListener.class
                || type == RunObserver.class
                || type == RunObserver.Observation.class
                // JUnit and Spring call these, and nobody else.
                || type == SimulatedGpuExtension.class
                || type == RekindleAutoConfiguration.class
                // Made by the compiler: null equals nothing, and the NullPointerException of an enum has words of its
                // own.
                || (type.isRecord() && executable.getName().equals("equals"))
                || (type.isEnum() && executable.getName().equals("valueOf"));
    }

    @Test
    void nullIsRefusedByName(SimulatedGpu gpu) throws Exception {
        var asked = new ArrayList<String>();
        var accepted = new ArrayList<String>();
        try (var samples = new Samples(gpu)) {
            for (Executable executable : (Iterable<Executable>) executables()::iterator) {
                Parameter[] parameters = executable.getParameters();
                for (int i = 0; i < parameters.length; i++) {
                    if (mayBeNull(parameters[i]) || isExcepted(executable)) {
                        continue;
                    }
                    asked.add(executable.getDeclaringClass().getName());
                    String name = parameters[i].getName();
                    outcome(executable, samples, i, null)
                            .filter(thrown ->
                                    thrown instanceof NullPointerException && name.equals(thrown.getMessage()))
                            .ifPresentOrElse(refused -> {}, () -> accepted.add(name + " of " + executable));
                    for (Object withNull : withNull(parameters[i].getType())) {
                        outcome(executable, samples, i, withNull)
                                .filter(NullPointerException.class::isInstance)
                                .ifPresentOrElse(
                                        refused -> {}, () -> accepted.add("one of " + name + " of " + executable));
                    }
                }
            }
        }
        assertThat(accepted).isEmpty();
        assertThat(asked)
                .hasSizeGreaterThan(90)
                .contains(
                        "dev.rekindle.Rekindle$Builder",
                        "dev.rekindle.RunRequestBuilder",
                        "dev.rekindle.Prefetch",
                        "dev.rekindle.Phase",
                        "dev.rekindle.test.SimulatedGpu",
                        "dev.rekindle.micrometer.RekindleMetrics",
                        "dev.rekindle.spring.RekindleHealthIndicator");
    }

    @Test
    void listsOfRecordsAreCopies(SimulatedGpu gpu) throws Exception {
        var asked = new ArrayList<String>();
        try (var samples = new Samples(gpu)) {
            for (Class<?> type : types().filter(Class::isRecord).toList()) {
                RecordComponent[] components = type.getRecordComponents();
                for (int i = 0; i < components.length; i++) {
                    if (!Collection.class.isAssignableFrom(components[i].getType())) {
                        continue;
                    }
                    Constructor<?> constructor = canonical(type);
                    Object[] arguments = samples.arguments(constructor);
                    var callers = new ArrayList<>((List<?>) arguments[i]);
                    arguments[i] = callers;
                    Object made = constructor.newInstance(arguments);
                    callers.clear();
                    asked.add(components[i].toString());
                    assertThat((List<?>) components[i].getAccessor().invoke(made))
                            .as("%s", components[i])
                            .hasSize(1)
                            .isUnmodifiable();
                }
            }
        }
        assertThat(asked).hasSizeGreaterThan(4);
    }

    private static boolean mayBeNull(Parameter parameter) {
        return parameter.getType().isPrimitive() || parameter.getAnnotatedType().isAnnotationPresent(Nullable.class);
    }

    /** Lists and arrays that have null in them, where the type is one. */
    private static List<Object> withNull(Class<?> type) {
        if (type == List.class) {
            return List.of(Arrays.asList((Object) null));
        }
        return type == String[].class ? List.of((Object) new String[1]) : List.of();
    }

    /** What a call throws that has the argument at the index, and samples for all others. */
    private static Optional<Throwable> outcome(
            Executable executable, Samples samples, int index, @Nullable Object argument) throws Exception {
        @Nullable Object[] arguments = samples.arguments(executable);
        arguments[index] = argument;
        try {
            if (executable instanceof Constructor<?> constructor) {
                constructor.newInstance(arguments);
            } else {
                boolean isStatic = Modifier.isStatic(executable.getModifiers());
                ((Method) executable).invoke(isStatic ? null : samples.of(executable.getDeclaringClass()), arguments);
            }
            return Optional.empty();
        } catch (InvocationTargetException thrown) {
            return Optional.ofNullable(thrown.getCause());
        }
    }

    private static Stream<Executable> executables() throws Exception {
        return types().flatMap(type -> Stream.<Executable>concat(
                        Arrays.stream(type.getConstructors()), Arrays.stream(type.getDeclaredMethods())))
                .filter(executable -> Modifier.isPublic(executable.getModifiers()) && !executable.isSynthetic());
    }

    private static Stream<Class<?>> types() throws Exception {
        var types = new ArrayList<Class<?>>();
        for (String name : EXPORTED) {
            String pattern = "classpath*:" + name.replace('.', '/') + "/*.class";
            for (Resource file : new PathMatchingResourcePatternResolver().getResources(pattern)) {
                String simple = String.valueOf(file.getFilename()).replace(".class", "");
                if (!simple.endsWith("-info")) {
                    types.add(Class.forName(name + "." + simple));
                }
            }
        }
        return types.stream().filter(PublicParametersTest::isPublic);
    }

    private static boolean isPublic(Class<?> type) {
        Class<?> outer = type.getEnclosingClass();
        return Modifier.isPublic(type.getModifiers()) && (outer == null || isPublic(outer));
    }

    private static Constructor<?> canonical(Class<?> type) throws NoSuchMethodException {
        Class<?>[] types = Arrays.stream(type.getRecordComponents())
                .map(RecordComponent::getType)
                .toArray(Class<?>[]::new);
        return type.getConstructor(types);
    }

    /** A thing of each type that is a parameter, or has a method to be called, of a process that is checkpointed. */
    private static final class Samples implements AutoCloseable {
        private final Map<Class<?>, Object> all = new HashMap<>();
        private final Rekindle rekindle;
        private final WarmPool pool;

        Samples(SimulatedGpu gpu) {
            Worker worker = gpu.startWorker("--mib", "8");
            Path images = gpu.folder().resolve("images");
            CheckpointRequest.Builder checkpoint = CheckpointRequest.builder(worker.pid(), images);
            rekindle = gpu.rekindle().build();
            pool = rekindle.openPool();
            all.put(
                    RunStatistics.class,
                    rekindle.checkpoint(checkpoint.leaveRunning(true).build()).statistics());
            all.put(Prefetch.class, pool.prefetch(images));
            all.put(CheckpointImage.class, CheckpointImage.open(images));
            all.put(CheckpointRequest.class, checkpoint.build());
            all.put(CheckpointRequest.Builder.class, checkpoint);
            all.put(RestoreRequest.class, RestoreRequest.of(images));
            all.put(RestoreRequest.Builder.class, RestoreRequest.builder(images));
            all.put(RunRequestBuilder.class, checkpoint);
            all.put(Rekindle.class, rekindle);
            all.put(Rekindle.Builder.class, gpu.rekindle());
            all.put(WarmPool.class, pool);
            all.put(SimulatedGpu.class, gpu);
            all.put(MeterRegistry.class, new SimpleMeterRegistry());
            all.put(RekindleMetrics.class, new RekindleMetrics(new SimpleMeterRegistry()));
            all.put(String.class, "text");
            all.put(String[].class, new String[] {"--mib", "8"});
            all.put(Path.class, images);
            all.put(Duration.class, Duration.ofSeconds(1));
            all.put(ProcessBuilder.class, new ProcessBuilder("true"));
            all.put(ProcessHandle.class, ProcessHandle.of(worker.pid()).orElseThrow());
            all.put(Runnable.class, (Runnable) () -> {});
            all.put(Consumer.class, (Consumer<Object>) any -> {});
            all.put(Executor.class, (Executor) Runnable::run);
            all.put(ProgressListener.class, (ProgressListener) (done, total, phase) -> {});
            all.put(RunObserver.class, (RunObserver) run -> new RunObserver.Observation() {});
            all.put(Optional.class, Optional.empty());
            all.put(OptionalInt.class, OptionalInt.empty());
            all.put(OptionalLong.class, OptionalLong.empty());
            all.put(int.class, 1);
            all.put(long.class, worker.pid());
            all.put(boolean.class, false);
        }

        Object[] arguments(Executable executable) throws ReflectiveOperationException {
            var arguments = new ArrayList<Object>();
            for (Parameter parameter : executable.getParameters()) {
                arguments.add(of(parameter.getParameterizedType()));
            }
            return arguments.toArray();
        }

        Object of(Type type) throws ReflectiveOperationException {
            if (type instanceof ParameterizedType some) {
                return some.getRawType() == List.class
                        ? List.of(of(some.getActualTypeArguments()[0]))
                        : of(some.getRawType());
            }
            Class<?> raw = (Class<?>) type;
            if (raw.isEnum()) {
                return raw.getEnumConstants()[0];
            }
            if (raw.isRecord()) {
                Constructor<?> constructor = canonical(raw);
                return constructor.newInstance(arguments(constructor));
            }
            return Objects.requireNonNull(all.get(raw), raw.getName());
        }

        @Override
        public void close() {
            pool.close();
            rekindle.close();
        }
    }
}
