// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.Rekindle;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** Options that say where things are. What is not given is as the environment and /etc/rekindle.conf say. */
final class Settings {
    @Option(names = "--criu", paramLabel = "PROGRAM", description = "The criu program.")
    private @Nullable Path criu;

    @Option(names = "--plugin-dir", paramLabel = "DIR", description = "The folder that holds cuda_plugin.so.")
    private @Nullable Path pluginDirectory;

    @Option(names = "--pool-socket", paramLabel = "FILE", description = "The socket of the warm pool.")
    private @Nullable Path poolSocket;

    @Option(names = "--cuda-driver", paramLabel = "FILE", description = "The CUDA driver library.")
    private @Nullable Path cudaDriver;

    @Option(names = "--config", paramLabel = "FILE", description = "The configuration file.")
    private @Nullable Path configuration;

    Rekindle.Builder builder() {
        Rekindle.Builder builder = Rekindle.builder();
        if (criu != null) {
            builder.criu(criu);
        }
        if (pluginDirectory != null) {
            builder.pluginDirectory(pluginDirectory);
        }
        if (poolSocket != null) {
            builder.poolSocket(poolSocket);
        }
        if (cudaDriver != null) {
            builder.cudaDriver(cudaDriver);
        }
        if (configuration != null) {
            builder.configuration(configuration);
        }
        return builder;
    }

    /** That of the option or of the environment. */
    Optional<String> cudaDriver() {
        return Optional.ofNullable(cudaDriver == null ? System.getenv("REKINDLE_CUDA_DRIVER") : cudaDriver.toString());
    }

    Rekindle open() {
        return builder().build();
    }

    /** The same for a program of ours that reads its environment. */
    void export(Map<String, String> environment) {
        put(environment, "REKINDLE_POOL_SOCKET", poolSocket);
        put(environment, "REKINDLE_CUDA_DRIVER", cudaDriver);
        put(environment, "REKINDLE_CONFIGURATION", configuration);
    }

    private static void put(Map<String, String> environment, String name, @Nullable Path value) {
        if (value != null) {
            environment.put(name, value.toAbsolutePath().toString());
        }
    }
}
