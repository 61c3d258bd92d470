// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonElement;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The agent as a device of containers: a CDI specification that mounts and preloads it.
 *
 * <p>An engine makes a container anew at a restore, from the specification of that day, and what comes back in it has the agent
 * mapped that it was started with. So a container has all builds of the agent that are installed.
 */
final class AgentDevice {
    static final String KIND = "rekindle.dev/agent";

    /** An installation has each build of the agent in {@code agents/BUILD-ID/}, where it stays; a build tree has one file. */
    private static final Path BUILDS = Path.of("agents");

    private static final Gson GSON =
            new GsonBuilder().setPrettyPrinting().disableHtmlEscaping().create();

    /** The members are named as the specification of CDI has them. */
    private record Specification(String cdiVersion, String kind, List<Device> devices) {}

    private record Device(String name, Edits containerEdits) {}

    private record Edits(List<String> env, List<Mount> mounts) {}

    private record Mount(
            String hostPath,
            String containerPath,
            List<String> options,
            @Nullable String type) {}

    private AgentDevice() {}

    /**
     * The version is the oldest one with all that is used here, as engines refuse newer ones than they know. The mount has a type
     * because crun (1.21) ends with SIGSEGV when it restores a container with a mount that has none.
     */
    static String specification(Path agent, @Nullable String minimum) {
        return specification("0.4.0", agent, minimum, "bind");
    }

    private static String specification(String version, Path agent, @Nullable String minimum, @Nullable String type) {
        List<String> environment = new ArrayList<>(List.of("LD_PRELOAD=" + agent));
        if (minimum != null) {
            environment.add("REKINDLE_AGENT_MINIMUM=" + minimum);
        }
        String mounted = mounted(agent).toString();
        var mount = new Mount(mounted, mounted, List.of("ro", "nosuid", "nodev", "bind"), type);
        var device = new Device("all", new Edits(environment, List.of(mount)));
        return GSON.toJson(new Specification(version, KIND, List.of(device))) + "\n";
    }

    private static Path mounted(Path agent) {
        Path builds = agent.resolveSibling("../").normalize();
        return builds.endsWith(BUILDS) ? builds : agent;
    }

    /** Whether this is such a specification, of whichever agent, as it is written with no minimum, now or by an older version. */
    static boolean isSpecification(String text) {
        try {
            Specification read = GSON.fromJson(text, Specification.class);
            String preloaded = read.devices().getFirst().containerEdits().env().getFirst();
            Path agent = Path.of(preloaded.substring(preloaded.indexOf('=') + 1));
            JsonElement found = JsonParser.parseString(text);
            return Stream.of(specification(agent, null), specification("0.3.0", agent, null, null))
                    .anyMatch(written -> JsonParser.parseString(written).equals(found));
        } catch (JsonParseException | NullPointerException | java.util.NoSuchElementException other) {
            return false; // JSON of another form, or none
        }
    }
}
