// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.RunRequestBuilder;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Stack;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.IParameterConsumer;
import picocli.CommandLine.Model.ArgSpec;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;

/** What a tree has that CRIU is to be told of, under CRIU's names. */
final class TreeOptions {
    @Option(
            names = "--preset",
            paramLabel = "NAME",
            description = "What a kind of program needs; inference: --link-remap --enable-external-masters"
                    + " --tcp-established --file-locks, and --ghost-limit 1G for a dump.")
    private @Nullable Preset preset;

    @Option(
            names = {"-j", "--shell-job"},
            description = "Allow a tree that is part of a terminal session.")
    private boolean shellJob;

    @Option(names = "--tcp-established", description = "Allow established TCP connections.")
    private boolean tcpEstablished;

    @Option(names = "--tcp-close", description = "Close TCP connections.")
    private boolean tcpClose;

    @Option(
            names = {"-l", "--file-locks"},
            description = "Handle file locks.")
    private boolean fileLocks;

    @Option(names = "--link-remap", description = "Allow links for files that were deleted while open.")
    private boolean linkRemap;

    @Option(names = "--enable-external-masters", description = "Allow mounts from outside.")
    private boolean externalMasters;

    @Option(
            names = {"-x", "--ext-unix-sk"},
            description = "Allow unix sockets that end outside the tree.")
    private boolean externalUnixSockets;

    @Option(
            names = "--criu-argument",
            paramLabel = "ARG",
            parameterConsumer = OfCriu.class,
            description = "A further argument for criu, repeatable.")
    private List<String> arguments = new ArrayList<>();

    /** Takes what follows as it is, also where it looks like an option of this command. */
    static final class OfCriu implements IParameterConsumer {
        @Override
        public void consumeParameters(Stack<String> words, ArgSpec option, CommandSpec command) {
            if (words.isEmpty()) {
                throw new ParameterException(
                        command.commandLine(), "Missing required parameter for option '--criu-argument' (ARG)");
            }
            List<String> all = new ArrayList<>(option.<List<String>>getValue());
            all.add(words.pop());
            option.setValue(all);
        }
    }

    /** Before anything is done. */
    void validate() {
        if (tcpEstablished && tcpClose) {
            throw new IllegalArgumentException(
                    "--tcp-established keeps TCP connections, and --tcp-close closes them: give one of the two");
        }
    }

    List<String> arguments() {
        return arguments;
    }

    boolean linkRemap() {
        return linkRemap || preset == Preset.INFERENCE;
    }

    Optional<Preset> preset() {
        return Optional.ofNullable(preset);
    }

    /** Those of a preset may be closed all the same. */
    private boolean keepsConnections() {
        return tcpEstablished || (preset == Preset.INFERENCE && !tcpClose);
    }

    /** What the preset sets for dump and restore, as a line for the user. */
    Optional<String> note() {
        return preset().map(_ -> "preset inference: --link-remap --enable-external-masters"
                + (keepsConnections() ? " --tcp-established" : "") + " --file-locks");
    }

    void apply(RunRequestBuilder<?> request) {
        boolean inference = preset == Preset.INFERENCE;
        request.shellJob(shellJob);
        request.tcpEstablished(keepsConnections());
        request.tcpClose(tcpClose);
        request.fileLocks(fileLocks || inference);
        request.linkRemap(linkRemap());
        request.externalMasters(externalMasters || inference);
        request.externalUnixSockets(externalUnixSockets);
        arguments.forEach(request::argument);
    }

    /** The same for a criu that is run by itself. */
    List<String> words() {
        boolean inference = preset == Preset.INFERENCE;
        var words = new ArrayList<String>();
        add(words, shellJob, "--shell-job");
        add(words, keepsConnections(), "--tcp-established");
        add(words, tcpClose, "--tcp-close");
        add(words, fileLocks || inference, "--file-locks");
        add(words, linkRemap(), "--link-remap");
        add(words, externalMasters || inference, "--enable-external-masters");
        add(words, externalUnixSockets, "--ext-unix-sk");
        words.addAll(arguments);
        return words;
    }

    private static void add(List<String> words, boolean given, String word) {
        if (given) {
            words.add(word);
        }
    }
}
