// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.io.File;
import java.lang.ProcessBuilder.Redirect;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** What has to be so when a program starts, for it to be checkpointed later. */
final class Preparation {
    private static final File NOTHING = new File("/dev/null");
    private static final String PRELOAD = "LD_PRELOAD";

    private Preparation() {}

    static ProcessBuilder apply(ProcessBuilder builder, Path agent) {
        if (builder.command().isEmpty()) {
            throw new IllegalArgumentException("there is no command to prepare");
        }
        preload(builder.environment(), agent.toString());
        // CRIU cannot dump a ring. libuv has a switch of its own, for Node.js and uvloop; for all others the agent has
        // one.
        builder.environment().putIfAbsent("UV_USE_IO_URING", "0");
        builder.environment().putIfAbsent("REKINDLE_AGENT_IO_URING", "0");
        // CRIU wants the leader of the session in the tree, and no terminal.
        if (!builder.command().getFirst().equals("setsid")) {
            var command = new ArrayList<>(List.of("setsid"));
            command.addAll(builder.command());
            builder.command(command);
        }
        if (builder.redirectInput().file() == null) {
            builder.redirectInput(NOTHING);
        }
        if (builder.redirectOutput().file() == null) {
            builder.redirectOutput(Redirect.DISCARD);
        }
        if (builder.redirectError().file() == null) {
            builder.redirectError(Redirect.DISCARD);
        }
        return builder;
    }

    private static void preload(Map<String, String> environment, String agent) {
        String others = environment.getOrDefault(PRELOAD, "");
        if (!List.of(others.split("[: ]+", -1)).contains(agent)) {
            environment.put(PRELOAD, others.isEmpty() ? agent : agent + ":" + others);
        }
    }
}
