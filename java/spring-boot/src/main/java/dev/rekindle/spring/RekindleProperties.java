// SPDX-License-Identifier: MIT
package dev.rekindle.spring;

import dev.rekindle.Rekindle;
import java.nio.file.Path;
import java.util.Optional;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.springframework.boot.context.properties.ConfigurationProperties;

/**
 * The properties {@code rekindle.*}, each as in {@link Rekindle.Builder}. What is not set is as {@code /etc/rekindle.conf} and
 * the environment say. Immutable, so any threads may use it.
 *
 * @param imagesRoot {@code rekindle.images-root}: where relative image folders are
 * @param criu {@code rekindle.criu}: the program
 * @param pluginDirectory {@code rekindle.plugin-directory}: the folder of {@code cuda_plugin.so}
 * @param poolSocket {@code rekindle.pool-socket}: the socket of the warm pool
 * @param cudaDriver {@code rekindle.cuda-driver}: the driver's library
 * @param configuration {@code rekindle.configuration}: another file than {@code /etc/rekindle.conf}
 * @param contextPool {@code rekindle.context-pool}: whether a pool that a run starts stays
 */
@ConfigurationProperties("rekindle")
public record RekindleProperties(
        @Nullable Path imagesRoot,
        @Nullable Path criu,
        @Nullable Path pluginDirectory,
        @Nullable Path poolSocket,
        @Nullable Path cudaDriver,
        @Nullable Path configuration,
        @Nullable Boolean contextPool) {
    /** A builder with what is set. */
    Rekindle.Builder builder() {
        Rekindle.Builder builder = Rekindle.builder();
        set(imagesRoot, builder::imagesRoot);
        set(criu, builder::criu);
        set(pluginDirectory, builder::pluginDirectory);
        set(poolSocket, builder::poolSocket);
        set(cudaDriver, builder::cudaDriver);
        set(configuration, builder::configuration);
        set(contextPool, builder::contextPool);
        return builder;
    }

    private static <T> void set(@Nullable T value, Consumer<T> setter) {
        Optional.ofNullable(value).ifPresent(setter);
    }
}
