// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.ErrorCode;
import java.io.PrintWriter;
import java.util.function.Consumer;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;
import picocli.CommandLine.Spec.Target;

/** How a command says what it has found or done: all have this option. */
final class Output {
    static final String JSON = "--json";

    static final String LOST = "standard output could not be written to";

    @Spec(Target.MIXEE)
    private CommandSpec spec;

    @Option(
            names = JSON,
            description = "Print one JSON document, of the schema in share/rekindle/rekindle-schema.json.")
    private boolean json;

    /** Who was to be told wants to hear no more. It is said to nobody, as other programs do. */
    static final class ReaderHasGone extends RuntimeException {
        private static final long serialVersionUID = 1;
    }

    boolean json() {
        return json;
    }

    /** The document for programs, or text for people. */
    void print(Object document, Consumer<PrintWriter> text) {
        print(document, text, "");
    }

    /** Likewise of what stays done where nobody could be told, and is said with that failure then. */
    void print(Object document, Consumer<PrintWriter> text, String done) {
        PrintWriter out = spec.commandLine().getOut();
        if (json) {
            out.println(Json.text(document));
        } else {
            text.accept(out);
        }
        if (done.isEmpty() && out instanceof StandardOutput standard && standard.readerHasGone()) {
            throw new ReaderHasGone();
        }
        if (out.checkError()) {
            throw new CommandException(ErrorCode.INTERNAL, done.isEmpty() ? LOST : done + ", but " + LOST);
        }
    }

    void print(Object document, String sentence) {
        print(document, out -> out.println(sentence), sentence);
    }

    PrintWriter err() {
        return spec.commandLine().getErr();
    }

    /** A line beside the result, which programs do not read. */
    void note(String line) {
        err().println(line);
        err().flush();
    }
}
