// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.ErrorCode;
import dev.rekindle.Rekindle;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "run",
        mixinStandardHelpOptions = true,
        description =
                "Start a program so that it can be checkpointed, and print its pid: with the agent, in a session of its"
                        + " own, without a terminal. It goes on running when this command has ended.",
        customSynopsis = "rekindle run [OPTIONS] -- COMMAND [ARG...]")
final class RunCommand implements Callable<Integer> {
    /** A program that cannot start says so in this time. */
    private static final long FIRST_MILLISECONDS = 200;

    @Mixin
    private Settings settings;

    @Mixin
    private Namespaces namespaces;

    @Mixin
    private Output output;

    @Parameters(index = "0..*", arity = "1..*", paramLabel = "COMMAND", description = "The program and its arguments.")
    private List<String> command;

    @Option(
            names = {"-o", "--output"},
            paramLabel = "FILE",
            description = "Where its output goes, at the end of what is there. Default: COMMAND.log in this folder.")
    private @Nullable Path log;

    @Option(names = "--error", paramLabel = "FILE", description = "Where its errors go. Default: with its output.")
    private @Nullable Path errors;

    @Option(
            names = {"-C", "--directory"},
            paramLabel = "DIR",
            description = "The folder it runs in. Default: this one.")
    private @Nullable Path directory;

    @Option(
            names = {"-e", "--env"},
            paramLabel = "NAME=VALUE",
            description = "A variable of its environment, repeatable.")
    private Map<String, String> variables = Map.of();

    /** What {@code --json} prints. */
    record Document(
            long pid,
            List<String> command,
            boolean agent,
            Path output,
            Path errors,
            boolean pidNamespace,
            boolean netNamespace) {}

    @Override
    public Integer call() throws IOException, InterruptedException {
        try (Rekindle rekindle = settings.open()) {
            Path program = Launch.findProgram(command.getFirst(), directory, variables);
            Path out = log == null ? Path.of(program.getFileName() + ".log").toAbsolutePath() : log.toAbsolutePath();
            var launch = new Launch(directory, variables, out, errors == null ? null : errors.toAbsolutePath());
            Process starter =
                    rekindle.prepare(launch.builder(namespaces.words(command))).start();
            long pid;
            boolean agent;
            try {
                pid = started(starter, out);
                agent = hasAgent(pid, rekindle.agent());
                if (Thread.interrupted()) {
                    throw new InterruptedException();
                }
            } catch (InterruptedException early) {
                throw ended(starter, early);
            }
            if (!agent) {
                output.note("rekindle: %s runs without the agent, as statically linked and setuid programs do: its"
                                .formatted(command.getFirst())
                        + " device memory will travel through the process image, which is slower");
            }
            output.print(
                    new Document(
                            pid,
                            command,
                            agent,
                            out,
                            errors == null ? out : errors.toAbsolutePath(),
                            namespaces.pids(),
                            namespaces.network()),
                    text -> text.println(pid),
                    command.getFirst() + " runs with pid " + pid);
            return 0;
        }
    }

    private long started(Process starter, Path out) throws InterruptedException {
        if (starter.waitFor(FIRST_MILLISECONDS, TimeUnit.MILLISECONDS)) {
            throw new CommandException(
                    ErrorCode.NO_SUCH_PROCESS,
                    "%s ended at once with exit status %d: %s has its output"
                            .formatted(command.getFirst(), starter.exitValue(), out));
        }
        return namespaces.pid(starter, out);
    }

    /** Nobody was told its pid. */
    private CommandException ended(Process starter, InterruptedException early) throws InterruptedException {
        Namespaces.end(starter);
        starter.waitFor();
        var interrupted = new CommandException(
                ErrorCode.CANCELLED,
                "interrupted: %s, which had begun as process %d, was ended"
                        .formatted(command.getFirst(), starter.pid()));
        interrupted.initCause(early);
        return interrupted;
    }

    private static boolean hasAgent(long pid, Path agent) {
        // Names there are bytes, of any encoding.
        var name = new String(agent.toString().getBytes(StandardCharsets.UTF_8), StandardCharsets.ISO_8859_1);
        try (Stream<String> maps = Files.lines(Path.of("/proc/" + pid + "/maps"), StandardCharsets.ISO_8859_1)) {
            return maps.anyMatch(line -> line.endsWith(name));
        } catch (IOException | java.io.UncheckedIOException gone) {
            return false;
        }
    }
}
