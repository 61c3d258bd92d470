// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.io.IOException;
import java.nio.file.Path;

/** A {@code rekindled} for tests. */
final class PoolProcess {
    private PoolProcess() {}

    static Process start(Path folder) throws IOException {
        ProcessBuilder builder = new ProcessBuilder(
                        TestMachine.NATIVE.resolve("bin/rekindled").toString())
                .redirectErrorStream(true)
                .redirectOutput(folder.resolve("rekindled.log").toFile());
        builder.environment().put("REKINDLE_POOL_SOCKET", folder.resolve("pool.sock").toString());
        builder.environment().put("REKINDLE_CUDA_DRIVER", TestMachine.SIMULATED_DRIVER.toString());
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
