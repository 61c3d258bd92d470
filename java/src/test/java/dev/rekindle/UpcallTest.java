// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.AppenderBase;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.slf4j.LoggerFactory;

/** Exceptions that nobody declared, as Kotlin and Scala throw them, do not end the JVM. */
class UpcallTest {
    @TempDir
    private Path folder;

    /** A listener that throws, over the images in a folder. */
    static final class ThrowingListener {
        public static void main(String[] arguments) {
            try {
                CheckpointImage.open(Path.of(arguments[0])).verify((done, total, phase) -> throwUndeclared());
            } catch (Exception failure) {
                System.out.println("heard " + failure + ", suppressed " + failure.getSuppressed().length);
            }
        }
    }

    /** An appender that throws, at whatever a pool logs. */
    static final class ThrowingAppender extends AppenderBase<ILoggingEvent> {
        private static int lines;

        public static void main(String[] arguments) {
            var appender = new ThrowingAppender();
            Logger logger = (Logger) LoggerFactory.getLogger("dev.rekindle.native");
            logger.setLevel(Level.DEBUG);
            logger.setAdditive(false);
            logger.addAppender(appender);
            try (Rekindle rekindle = Rekindle.builder()
                            .cudaDriver(TestMachine.SIMULATED_DRIVER)
                            .poolSocket(Path.of(arguments[0], "pool.sock"))
                            .build();
                    WarmPool pool = rekindle.openPool()) {
                System.out.println("hosted " + pool.isHosted() + ", lines " + (lines > 0));
            }
        }

        @Override
        public synchronized void doAppend(ILoggingEvent event) {
            lines++;
            throwUndeclared();
        }

        @Override
        protected void append(ILoggingEvent event) {}
    }

    /** The logger's level may change while the program runs. */
    static final class ChangingLevel extends AppenderBase<ILoggingEvent> {
        private static final AtomicInteger LINES = new AtomicInteger();

        public static void main(String[] arguments) {
            var appender = new ChangingLevel();
            appender.start();
            Logger logger = (Logger) LoggerFactory.getLogger("dev.rekindle.native");
            logger.setAdditive(false);
            logger.addAppender(appender);
            for (Level level : List.of(Level.OFF, Level.DEBUG, Level.OFF)) {
                logger.setLevel(level);
                LINES.set(0);
                try (Rekindle rekindle = Rekindle.builder()
                                .cudaDriver(TestMachine.SIMULATED_DRIVER)
                                .poolSocket(Path.of(arguments[0], "pool.sock"))
                                .build();
                        WarmPool pool = rekindle.openPool()) {
                    System.out.println(level + " " + pool.isHosted() + " " + (LINES.get() > 0));
                }
            }
        }

        @Override
        protected void append(ILoggingEvent event) {
            LINES.incrementAndGet();
        }
    }

    @Test
    void levelIsThatOfTheMoment() throws Exception {
        assertThat(run(ChangingLevel.class, folder)).contains("OFF true false\nDEBUG true true\nOFF true false\n");
    }

    @Test
    void listener() throws Exception {
        try (Rekindle rekindle = TestMachine.rekindle(folder).build();
                Worker worker = Worker.start(folder, "worker")) {
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
        }
        assertThat(run(ThrowingListener.class, folder.resolve("images")))
                .contains("heard java.io.IOException: undeclared, suppressed 1");
    }

    @Test
    void logAppender() throws Exception {
        assertThat(run(ThrowingAppender.class, folder)).contains("hosted true, lines true");
    }

    private static String run(Class<?> main, Path argument) throws Exception {
        ChildJvm.Output output = ChildJvm.run(
                main,
                List.of(
                        "--enable-native-access=ALL-UNNAMED",
                        "--illegal-native-access=deny",
                        "-Drekindle.library.path=" + TestMachine.LIBRARY_FOLDER,
                        "-Drekindle.native.build=" + TestMachine.NATIVE,
                        "-Drekindle.native.source=" + System.getProperty("rekindle.native.source")),
                Map.of(),
                argument.toString());
        assertThat(output.exitCode()).as(output.text()).isZero();
        return output.text();
    }

    private static void throwUndeclared() {
        UpcallTest.<RuntimeException>throwAs(new IOException("undeclared"));
    }

    @SuppressWarnings({"unchecked", "TypeParameterUnusedInFormals"})
    private static <E extends Throwable> void throwAs(Throwable failure) throws E {
        throw (E) failure;
    }
}
