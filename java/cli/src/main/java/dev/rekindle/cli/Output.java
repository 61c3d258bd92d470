// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.PrintWriter;
import java.util.function.Consumer;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;
import picocli.CommandLine.Spec.Target;

/** How a command says what it has found or done: all but cdi, which writes a JSON document of others, have this option. */
final class Output {
    static final String JSON = "--json";

    @Spec(Target.MIXEE)
    private CommandSpec spec;

    @Option(names = JSON, description = "Print one JSON document, of the schema in rekindle-schema.json.")
    private boolean json;

    boolean json() {
        return json;
    }

    /** The document for programs, or text for people. */
    void print(Object document, Consumer<PrintWriter> text) {
        PrintWriter out = spec.commandLine().getOut();
        if (json) {
            out.println(Json.text(document));
        } else {
            text.accept(out);
        }
        out.flush();
    }

    void print(Object document, String sentence) {
        print(document, out -> out.println(sentence));
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
