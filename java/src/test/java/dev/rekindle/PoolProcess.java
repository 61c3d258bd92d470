// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** A {@code rekindled} for tests. */
final class PoolProcess {
    static final Map<String, String> TWO_GPUS = Map.of("REKINDLE_SIMCUDA_DEVICES", "2");

    private PoolProcess() {}

    static Process start(Path folder) throws IOException {
        return start(folder, Map.of(), List.of());
    }

    static Process start(Path folder, Map<String, String> environment, List<String> arguments) throws IOException {
        var command = new ArrayList<String>();
        command.add(TestMachine.NATIVE.resolve("bin/rekindled").toString());
        command.addAll(arguments);
        ProcessBuilder builder = new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectOutput(folder.resolve("rekindled.log").toFile());
        builder.environment()
                .put("REKINDLE_POOL_SOCKET", folder.resolve("pool.sock").toString());
        builder.environment().put("REKINDLE_CUDA_DRIVER", TestMachine.SIMULATED_DRIVER.toString());
        builder.environment().putAll(environment);
        return builder.start();
    }

    /** Once it listens and is warm. */
    static WarmPool connect(Rekindle rekindle) {
        var pool = new WarmPool[1];
        Worker.await("rekindled to listen", () -> {
            try {
                if (pool[0] == null) {
                    pool[0] = rekindle.connectPool();
                }
                return pool[0].statistics().contexts() > 0;
            } catch (PoolException notYet) {
                return false;
            }
        });
        return pool[0];
    }
}
