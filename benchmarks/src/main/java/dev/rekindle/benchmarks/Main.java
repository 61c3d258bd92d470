// SPDX-License-Identifier: MIT
package dev.rekindle.benchmarks;

import java.nio.file.Files;
import java.util.Arrays;
import org.openjdk.jmh.results.format.ResultFormatType;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.options.CommandLineOptions;
import org.openjdk.jmh.runner.options.Options;
import org.openjdk.jmh.runner.options.OptionsBuilder;

/**
 * {@code java -jar benchmarks.jar [JMH OPTION...]} measures and leaves JSON in the folder that BENCHMARK_RESULTS names;
 * {@code java -jar benchmarks.jar report FOLDER... FILE.html} makes a page of it.
 */
public final class Main {
    private Main() {}

    /**
     * Measures, or makes the report.
     *
     * @param arguments JMH's, or {@code report FOLDER... FILE}
     * @throws Exception where it failed
     */
    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 0 && arguments[0].equals("report")) {
            Report.main(Arrays.copyOfRange(arguments, 1, arguments.length));
            return;
        }
        CommandLineOptions given = new CommandLineOptions(arguments);
        if (given.shouldHelp()) {
            given.showHelp();
            return;
        }
        if (given.shouldList()) {
            new Runner(given).list();
            return;
        }
        Files.createDirectories(Machine.RESULTS);
        Options options = new OptionsBuilder()
                .parent(given)
                .shouldFailOnError(true)
                .resultFormat(ResultFormatType.JSON)
                .result(Machine.RESULTS.resolve("results.json").toString())
                .jvmArgsAppend(
                        "--enable-native-access=ALL-UNNAMED",
                        "--sun-misc-unsafe-memory-access=allow",
                        "-Drekindle.library.path=" + Machine.NATIVE.resolve("lib"))
                .build();
        new Runner(options).run();
        Conditions.now().write(Machine.RESULTS);
    }
}
