// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.Rekindle;
import dev.rekindle.RekindleException;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

@Command(
        name = "check",
        mixinStandardHelpOptions = true,
        description = "Say whether this machine can checkpoint and restore.")
final class CheckCommand implements Callable<Integer> {
    @Spec
    private CommandSpec spec;

    @Mixin
    private Settings settings;

    @Override
    public Integer call() {
        try (Rekindle rekindle = settings.open()) {
            Optional<RekindleException> missing = rekindle.check();
            if (missing.isPresent()) {
                throw missing.get();
            }
            spec.commandLine().getOut().println("looks good");
            return 0;
        }
    }
}
