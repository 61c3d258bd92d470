// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonArray;
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
        // Without one crun's restore ends with SIGSEGV.
        assertThat(mount.get("type").getAsString()).isEqualTo("bind");
        assertThat(AgentDevice.isSpecification(specification)).isTrue();
        mount.remove("type");
        JsonObject older = device(edits, "0.3.0");
        assertThat(AgentDevice.isSpecification(older.toString())).isTrue();
        assertThat(AgentDevice.isSpecification(device(edits, "0.4.0").toString()))
                .isFalse();
        assertThat(AgentDevice.isSpecification(AgentDevice.specification(agent, "4M")))
                .isFalse();
    }

    private static JsonObject device(JsonObject edits, String version) {
        var device = new JsonObject();
        device.addProperty("name", "all");
        device.add("containerEdits", edits);
        var devices = new JsonArray();
        devices.add(device);
        var specification = new JsonObject();
        specification.addProperty("cdiVersion", version);
        specification.addProperty("kind", AgentDevice.KIND);
        specification.add("devices", devices);
        return specification;
    }
}
