// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.nio.file.Path;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class AgentDeviceTest {
    /** What was started with one build of the agent comes back with that one, whichever was installed since. */
    @ParameterizedTest
    @CsvSource({
        "/usr/lib/rekindle/agents/0a1b/librekindle-preload.so, /usr/lib/rekindle/agents",
        "/build/lib/librekindle-preload.so,                    /build/lib/librekindle-preload.so",
        "/librekindle-preload.so,                              /librekindle-preload.so"
    })
    void containersHaveEachInstalledBuild(Path agent, String mounted) {
        String specification = AgentDevice.specification(agent, null);
        JsonObject edits = JsonParser.parseString(specification)
                .getAsJsonObject()
                .getAsJsonArray("devices")
                .get(0)
                .getAsJsonObject()
                .getAsJsonObject("containerEdits");
        JsonObject mount = edits.getAsJsonArray("mounts").get(0).getAsJsonObject();
        assertThat(mount.get("hostPath").getAsString()).isEqualTo(mounted);
        assertThat(mount.get("containerPath").getAsString()).isEqualTo(mounted);
        assertThat(edits.getAsJsonArray("env").get(0).getAsString()).isEqualTo("LD_PRELOAD=" + agent);
        assertThat(AgentDevice.isSpecification(specification)).isTrue();
        assertThat(AgentDevice.isSpecification(AgentDevice.specification(agent, "4M")))
                .isFalse();
    }
}
