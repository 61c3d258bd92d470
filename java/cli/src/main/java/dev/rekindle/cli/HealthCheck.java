// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.File;
import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.URI;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** Asks a service again and again until it says that it is well. */
final class HealthCheck {
    private static final int ATTEMPT_MILLISECONDS = 5000;
    private static final int PAUSE_MILLISECONDS = 5;

    @Option(
            names = "--health-command",
            paramLabel = "COMMAND",
            description = "A shell command that succeeds once the service is well.")
    private @Nullable String command;

    @Option(
            names = "--health-url",
            paramLabel = "URL",
            description = "An address that answers with a status below 400 once the service is well.")
    private @Nullable URI url;

    @Option(
            names = "--health-timeout",
            paramLabel = "SECONDS",
            description = "How long it may take. Default: ${DEFAULT-VALUE}.",
            defaultValue = "60")
    private int seconds;

    void validate() {
        if (seconds < 1) {
            throw new IllegalArgumentException("--health-timeout " + seconds + " is not 1 or more");
        }
        if (url != null && !isAddress(url)) {
            throw new IllegalArgumentException("--health-url " + url + " is no http or https address");
        }
    }

    /** Everything that opening a connection could refuse later. */
    private static boolean isAddress(URI url) {
        return ("http".equalsIgnoreCase(url.getScheme()) || "https".equalsIgnoreCase(url.getScheme()))
                && url.getHost() != null
                && url.getPort() <= MetricsServer.PORT_MAX;
    }

    /** Returns how long it took, or nothing where it did not get well in time. */
    Optional<Duration> await() throws InterruptedException {
        return await(HealthCheck::shell, () -> true);
    }

    /** Likewise, and nothing too where the service is gone. */
    Optional<Duration> await(Shell shell, BooleanSupplier runs) throws InterruptedException {
        long start = System.nanoTime();
        while (!isWell(shell)) {
            if (System.nanoTime() - start > TimeUnit.SECONDS.toNanos(seconds) || !runs.getAsBoolean()) {
                return Optional.empty();
            }
            Thread.sleep(PAUSE_MILLISECONDS);
        }
        return Optional.of(Duration.ofNanos(System.nanoTime() - start));
    }

    /** How the command is run. */
    interface Shell {
        List<String> words(String command);
    }

    private static List<String> shell(String command) {
        return List.of("sh", "-c", command);
    }

    /** Whether anything says when it is. */
    boolean isGiven() {
        return command != null || url != null;
    }

    boolean hasUrl() {
        return url != null;
    }

    boolean isWell() throws InterruptedException {
        return isWell(HealthCheck::shell);
    }

    private boolean isWell(Shell shell) throws InterruptedException {
        return (command == null || succeeds(shell.words(command))) && (url == null || answers(url));
    }

    private static boolean succeeds(List<String> words) throws InterruptedException {
        try {
            Process process = new ProcessBuilder(words)
                    .redirectInput(new File("/dev/null"))
                    .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                    .redirectError(ProcessBuilder.Redirect.DISCARD)
                    .start();
            try {
                return process.waitFor(ATTEMPT_MILLISECONDS, TimeUnit.MILLISECONDS) && process.exitValue() == 0;
            } finally {
                process.destroyForcibly();
            }
        } catch (IOException failure) {
            return false;
        }
    }

    private static boolean answers(URI url) {
        try {
            var connection = (HttpURLConnection) url.toURL().openConnection();
            connection.setConnectTimeout(ATTEMPT_MILLISECONDS);
            connection.setReadTimeout(ATTEMPT_MILLISECONDS);
            try {
                return connection.getResponseCode() < HttpURLConnection.HTTP_BAD_REQUEST;
            } finally {
                connection.disconnect();
            }
        } catch (IOException notYet) {
            return false;
        }
    }
}
