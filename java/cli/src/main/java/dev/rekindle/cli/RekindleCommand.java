// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.RekindleException;
import java.io.File;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.lang.reflect.Method;
import java.net.URI;
import java.net.URISyntaxException;
import java.nio.channels.ClosedByInterruptException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.HelpCommand;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;

/** The {@code rekindle} program: one subcommand for each thing it does. */
public final class RekindleCommand {
    private static final List<Class<?>> SUBCOMMANDS = List.of(
            DoctorCommand.class,
            RunCommand.class,
            CheckpointCommand.class,
            RestoreCommand.class,
            InspectCommand.class,
            PoolCommand.class,
            SwapCommand.class,
            BenchCommand.class,
            ReportCommand.class,
            StatsCommand.class,
            MetricsCommand.class,
            CheckCommand.class,
            SetupCommand.class,
            CdiCommand.class,
            HelpCommand.class);

    private RekindleCommand() {}

    /**
     * Runs a command and exits, with a status that the help lists.
     *
     * @param arguments the command and its arguments
     */
    public static void main(String[] arguments) {
        SignalledEnd end = SignalledEnd.await();
        StandardOutput out = StandardOutput.open();
        CommandLine commandLine = commandLine(arguments).setOut(out);
        int status = commandLine.execute(arguments);
        if (status == 0 && out.checkError()) {
            status = out.readerHasGone() ? ExitStatus.READER_HAS_GONE : ExitStatus.FAILED;
            if (status == ExitStatus.FAILED) {
                commandLine.getErr().println("rekindle: " + Output.LOST);
            }
        }
        end.commandEnded(status);
        System.exit(status);
    }

    static CommandLine commandLine() {
        return commandLine(SUBCOMMANDS, _ -> true, "");
    }

    /** For these arguments only. To read all options of all subcommands takes longer than most of them do. */
    static CommandLine commandLine(String[] arguments) {
        String first = arguments.length == 0 ? "" : arguments[0];
        if (arguments.length == 1 && first.equals("--version")) {
            return commandLine(List.of(), _ -> false, "");
        }
        // The others are for those who ask what there is, or misspell it.
        for (Class<?> type : SUBCOMMANDS) {
            if (type != HelpCommand.class && isNamed(type.getAnnotation(Command.class), Set.of(first))) {
                return commandLine(List.of(type), _ -> true, arguments.length > 1 ? arguments[1] : "");
            }
        }
        Set<String> words = Set.copyOf(Arrays.asList(arguments));
        return commandLine(SUBCOMMANDS, subcommand -> isNamed(subcommand, words), "");
    }

    private static boolean isNamed(Command subcommand, Set<String> words) {
        return words.contains(subcommand.name())
                || Stream.of(subcommand.aliases()).anyMatch(words::contains);
    }

    private static CommandLine commandLine(List<Class<?>> subcommands, Predicate<Command> whole, String next) {
        CommandLine commandLine = new CommandLine(root());
        for (Class<?> type : subcommands) {
            Command subcommand = type.getAnnotation(Command.class);
            commandLine.addSubcommand(whole.test(subcommand) ? read(type, next) : outline(subcommand));
        }
        listExitStatuses(commandLine);
        // What follows the program's name is the program's.
        commandLine
                .getSubcommands()
                .forEach((name, subcommand) -> subcommand.setStopAtPositional(
                        subcommand.getCommandSpec().userObject() instanceof RunCommand
                                || subcommand.getCommandSpec().userObject() instanceof BenchCommand));
        return commandLine
                .setExpandAtFiles(false) // what begins with @ may be the program's
                .setCaseInsensitiveEnumValuesAllowed(true)
                .registerConverter(Path.class, RekindleCommand::path)
                .registerConverter(File.class, name -> path(name).toFile())
                .registerConverter(URI.class, RekindleCommand::address)
                .setParameterExceptionHandler(RekindleCommand::refuse)
                .setExecutionExceptionHandler(RekindleCommand::explain)
                .setExecutionStrategy(RekindleCommand::run);
    }

    /** Of a group of commands (those do not add their methods themselves) only the next one, or all where it is none. */
    private static CommandLine read(Class<?> type, String next) {
        CommandLine commandLine = new CommandLine(type);
        List<Method> methods = CommandLine.getCommandMethods(type, next);
        if (!next.isEmpty() && methods.size() == 1) {
            commandLine.addSubcommand(new CommandLine(methods.getFirst()));
        } else if (!type.getAnnotation(Command.class).addMethodSubcommands()) {
            commandLine.getCommandSpec().addMethodSubcommands(CommandLine.defaultFactory());
        }
        return commandLine;
    }

    /** Without annotations: to read the first of them takes a JVM longer than all else that --version needs. */
    private static CommandSpec root() {
        CommandSpec spec = CommandSpec.create()
                .name("rekindle")
                .versionProvider(new VersionProvider())
                .addOption(OptionSpec.builder("-h", "--help")
                        .usageHelp(true)
                        .description("Show this help message and exit.")
                        .build())
                .addOption(OptionSpec.builder("-V", "--version")
                        .versionHelp(true)
                        .description("Print version information and exit.")
                        .build());
        spec.usageMessage()
                .description("Fast checkpoint and restore of GPU processes with CRIU.")
                .synopsisSubcommandLabel("COMMAND");
        return spec;
    }

    /** What the help of the program says of it. */
    private static CommandSpec outline(Command subcommand) {
        CommandSpec spec = CommandSpec.create().name(subcommand.name()).aliases(subcommand.aliases());
        spec.usageMessage().header(subcommand.header()).description(subcommand.description());
        return spec;
    }

    private static void listExitStatuses(CommandLine commandLine) {
        commandLine
                .getCommandSpec()
                .usageMessage()
                .exitCodeListHeading("%nExit status:%n")
                .exitCodeList(ExitStatus.descriptions());
    }

    /** An empty one would be this folder, and is most likely a variable of a script that was never set. */
    private static Path path(String name) {
        if (name.isEmpty()) {
            throw new CommandLine.TypeConversionException("an empty name is no path: '.' is this folder");
        }
        return Path.of(name);
    }

    private static URI address(String text) {
        try {
            return new URI(text);
        } catch (URISyntaxException wrong) {
            throw new CommandLine.TypeConversionException("'" + text + "' is no address");
        }
    }

    /** Errors too end in a sentence, not in a stack trace. */
    private static int run(CommandLine.ParseResult arguments) {
        Optional<String> problem = isHelp(arguments) ? Optional.empty() : Names.problem(arguments.originalArgs());
        if (problem.isPresent()) {
            var wrong = new IllegalArgumentException(problem.get());
            return explain(wrong, arguments.commandSpec().commandLine(), arguments);
        }
        try {
            return new CommandLine.RunLast().execute(arguments);
        } catch (LinkageError | OutOfMemoryError | StackOverflowError failure) {
            return explain(failure, arguments.commandSpec().commandLine(), arguments);
        }
    }

    private static boolean isHelp(CommandLine.ParseResult arguments) {
        return arguments.asCommandLineList().stream()
                .anyMatch(command -> command.isUsageHelpRequested() || command.isVersionHelpRequested());
    }

    private static int refuse(CommandLine.ParameterException wrong, String[] arguments) {
        String sentence = Objects.requireNonNullElse(wrong.getMessage(), "the arguments are wrong")
                .lines()
                .findFirst()
                .orElse("");
        sentence = inTheirWords(sentence, wrong, arguments) + " (see "
                + wrong.getCommandLine().getCommandSpec().qualifiedName() + " --help)";
        sentence = Names.problem(Arrays.asList(arguments)).orElse(sentence);
        boolean json = Arrays.asList(arguments).contains(Output.JSON);
        say(wrong.getCommandLine(), wrong, ExitStatus.WRONG_ARGUMENTS, sentence, json);
        return ExitStatus.WRONG_ARGUMENTS;
    }

    /** Of several names of an option, that which was used; and no types of this program. */
    private static String inTheirWords(String sentence, CommandLine.ParameterException wrong, String[] arguments) {
        String words = sentence.replaceFirst(" is not an? (long|int)$", " is no number");
        if (wrong.getArgSpec() instanceof OptionSpec option) {
            for (String name : option.names()) {
                if (Stream.of(arguments).anyMatch(word -> word.equals(name) || word.startsWith(name + "="))) {
                    return words.replace("'" + option.longestName() + "'", "'" + name + "'");
                }
            }
        }
        return words;
    }

    private static int explain(Throwable failure, CommandLine commandLine, CommandLine.ParseResult arguments) {
        if (failure instanceof Output.ReaderHasGone) {
            return ExitStatus.READER_HAS_GONE;
        }
        int status = ExitStatus.of(failure);
        boolean json = arguments.asCommandLineList().stream()
                .map(CommandLine::getParseResult)
                .anyMatch(result -> result.hasMatchedOption(Output.JSON));
        say(commandLine, failure, status, sentence(failure), json);
        return status;
    }

    private static void say(CommandLine commandLine, Throwable failure, int status, String sentence, boolean json) {
        PrintWriter err = commandLine.getErr();
        err.println("rekindle: " + sentence);
        if (failure instanceof RekindleException exception) {
            exception.criuLog().lines().forEach(line -> err.println("  criu: " + line));
        }
        err.flush();
        if (json) {
            commandLine.getOut().println(Json.text(Json.Failure.of(failure, status, sentence)));
            commandLine.getOut().flush();
        }
    }

    static String sentence(Throwable failure) {
        return switch (failure) {
            case InterruptedException _, ClosedByInterruptException _ -> "interrupted";
            case UncheckedIOException wrapped when wrapped.getCause() != null -> sentence(wrapped.getCause());
            case NoSuchFileException missing -> "there is no " + missing.getFile();
            case FileAlreadyExistsException present -> present.getFile() + " exists already";
            case AccessDeniedException denied -> denied.getFile() + ": permission denied";
            case FileSystemException file -> file.getFile() + ": " + because(file.getReason(), file);
            case RekindleException _,
                    CommandException _,
                    IllegalArgumentException _,
                    IllegalStateException _,
                    IOException _ -> because(failure.getMessage(), failure);
            default -> "a defect, please report it: " + failure + origin(failure);
        };
    }

    private static String because(@Nullable String message, Throwable failure) {
        return message == null
                ? failure.getClass().getSimpleName()
                : message.strip().replaceAll("\\s*\\R\\s*", "; ");
    }

    private static String origin(Throwable failure) {
        return Optional.of(failure.getStackTrace()).filter(frames -> frames.length > 0).stream()
                .map(frames -> " at " + frames[0])
                .findFirst()
                .orElse("");
    }
}
