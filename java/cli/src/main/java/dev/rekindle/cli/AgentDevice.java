// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The agent as a device of containers: a CDI specification that mounts and preloads it. */
final class AgentDevice {
    static final String KIND = "rekindle.dev/agent";

    private static final Gson GSON =
            new GsonBuilder().setPrettyPrinting().disableHtmlEscaping().create();

    /** The members are named as the specification of CDI has them. */
    private record Specification(String cdiVersion, String kind, List<Device> devices) {}

    private record Device(String name, Edits containerEdits) {}

    private record Edits(List<String> env, List<Mount> mounts) {}

    private record Mount(String hostPath, String containerPath, List<String> options) {}

    private AgentDevice() {}

    /** The version is the oldest one with all that is used here, as engines refuse newer ones than they know. */
    static String specification(Path agent, @Nullable String minimum) {
        List<String> environment = new ArrayList<>(List.of("LD_PRELOAD=" + agent));
        if (minimum != null) {
            environment.add("REKINDLE_AGENT_MINIMUM=" + minimum);
        }
        var mount = new Mount(agent.toString(), agent.toString(), List.of("ro", "nosuid", "nodev", "bind"));
        var device = new Device("all", new Edits(environment, List.of(mount)));
        return GSON.toJson(new Specification("0.3.0", KIND, List.of(device))) + "\n";
    }

    /** Whether this is such a specification, of whichever agent, as it is written with no minimum. */
    static boolean isSpecification(String text) {
        try {
            Specification read = GSON.fromJson(text, Specification.class);
            return read.devices().size() == 1
                    && JsonParser.parseString(specification(
                                    Path.of(read.devices()
                                            .getFirst()
                                            .containerEdits()
                                            .mounts()
                                            .getFirst()
                                            .hostPath()),
                                    null))
                            .equals(JsonParser.parseString(text));
        } catch (JsonParseException | NullPointerException | java.util.NoSuchElementException other) {
            return false; // JSON of another form, or none
        }
    }
}
