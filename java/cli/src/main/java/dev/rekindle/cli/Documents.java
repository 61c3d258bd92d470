// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import picocli.AutoComplete;
import picocli.CommandLine;
import picocli.CommandLine.Help;
import picocli.CommandLine.Help.Ansi;
import picocli.CommandLine.Help.Ansi.Text;
import picocli.CommandLine.Help.ColorScheme;
import picocli.CommandLine.HelpCommand;
import picocli.CommandLine.Model.CommandSpec;

/** Man pages and the completion for bash and zsh, made at build from what the help texts are made from. */
final class Documents {
    private static final ColorScheme PLAIN = new ColorScheme.Builder(Ansi.OFF).build();

    private final Path folder;
    private final String version;

    private Documents(Path folder, String version) {
        this.folder = folder;
        this.version = version;
    }

    /** The folder to write to, and the version to name. */
    public static void main(String[] arguments) throws IOException {
        CommandLine root = RekindleCommand.commandLine();
        var documents = new Documents(Path.of(arguments[0]), arguments[1]);
        documents.manual(root);
        Path completions = Files.createDirectories(documents.folder.resolve("completions"));
        Files.writeString(completions.resolve("rekindle"), AutoComplete.bash("rekindle", root));
    }

    private void manual(CommandLine command) throws IOException {
        String name = name(command);
        Files.writeString(
                Files.createDirectories(folder.resolve("man/man1")).resolve(name + ".1"), page(command, name));
        for (CommandLine subcommand :
                new LinkedHashSet<>(command.getSubcommands().values())) {
            if (!(subcommand.getCommandSpec().userObject() instanceof HelpCommand)) {
                manual(subcommand);
            }
        }
    }

    private static String name(CommandLine command) {
        return command.getCommandSpec().qualifiedName("-");
    }

    private String page(CommandLine command, String name) {
        CommandSpec spec = command.getCommandSpec();
        Help help = new Help(spec, PLAIN);
        String description = String.join(" ", spec.usageMessage().description());
        int sentence = description.indexOf(". ");
        String first = sentence < 0 ? description : description.substring(0, sentence);
        var page = new ArrayList<String>();
        page.add(".TH " + quoted(name.toUpperCase(Locale.ROOT)) + " 1 \"\" " + quoted("rekindle " + version)
                + " \"Rekindle\"");
        page.add(".SH NAME");
        page.add(escaped(name) + " \\- " + escaped(first.replaceAll("\\.$", "")));
        page.add(".SH SYNOPSIS");
        page.add(escaped(help.synopsis(0).strip().replaceAll("\\s+", " ")));
        page.add(".SH DESCRIPTION");
        page.add(escaped(description));
        if (!spec.positionalParameters().isEmpty()) {
            page.add(".SH ARGUMENTS");
            spec.positionalParameters()
                    .forEach(argument -> item(
                            page,
                            help.createDefaultParameterRenderer()
                                    .render(argument, help.parameterLabelRenderer(), PLAIN)));
        }
        page.add(".SH OPTIONS");
        spec.options().stream()
                .filter(option -> !option.hidden())
                .sorted((one, other) -> one.longestName().compareToIgnoreCase(other.longestName()))
                .forEach(option -> item(
                        page, help.createDefaultOptionRenderer().render(option, help.parameterLabelRenderer(), PLAIN)));
        if (!command.getSubcommands().isEmpty()) {
            page.add(".SH COMMANDS");
            for (CommandLine subcommand :
                    new LinkedHashSet<>(command.getSubcommands().values())) {
                page.add(".TP");
                page.add(".B " + escaped(subcommand.getCommandName()));
                page.add(escaped(String.join(
                        " ", subcommand.getCommandSpec().usageMessage().description())));
            }
        }
        page.add(".SH \"EXIT STATUS\"");
        for (Map.Entry<String, String> status : ExitStatus.descriptions().entrySet()) {
            page.add(".TP");
            page.add(".B " + escaped(status.getKey()));
            page.add(escaped(status.getValue()));
        }
        page.add(".SH \"SEE ALSO\"");
        page.add(command.getParent() == null ? "criu(8)" : escaped(name(command.getParent())) + "(1), criu(8)");
        return String.join("\n", page) + "\n";
    }

    /** The last column is the description, and those before it are the names. */
    private static void item(List<String> page, Text[][] rows) {
        var names = new StringBuilder();
        var description = new ArrayList<String>();
        for (Text[] row : rows) {
            for (int i = 0; i < row.length - 1; i++) {
                String text = row[i].plainString().strip();
                names.append(text).append(text.equals(",") ? " " : "");
            }
            description.add(row[row.length - 1].plainString().strip());
        }
        page.add(".TP");
        page.add(".B " + escaped(names.toString().strip()));
        page.add(escaped(String.join(" ", description)));
    }

    private static String quoted(String text) {
        return "\"" + escaped(text).replace("\"", "\\(dq") + "\"";
    }

    private static String escaped(String text) {
        String safe = text.replace("\\", "\\(rs").replace("-", "\\-");
        return safe.startsWith(".") || safe.startsWith("'") ? "\\&" + safe : safe;
    }
}
