// SPDX-License-Identifier: MIT
package dev.rekindle.spring;

import dev.rekindle.Rekindle;
import dev.rekindle.RunObserver;
import dev.rekindle.micrometer.RekindleMetrics;
import io.micrometer.core.instrument.MeterRegistry;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.boot.health.contributor.HealthIndicator;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;

/**
 * Makes a {@link Rekindle} of {@link RekindleProperties}, which tells all {@link RunObserver} beans of its runs; its health,
 * where the application has health indicators, and its metrics, where it has Micrometer. Each gives way to a bean of the
 * application.
 */
@AutoConfiguration(
        afterName = {
            "org.springframework.boot.micrometer.metrics.autoconfigure.CompositeMeterRegistryAutoConfiguration",
            "org.springframework.boot.micrometer.metrics.autoconfigure.MetricsAutoConfiguration"
        })
@EnableConfigurationProperties(RekindleProperties.class)
public class RekindleAutoConfiguration {
    /** For Spring. */
    public RekindleAutoConfiguration() {}

    /**
     * The handle, closed with the context.
     *
     * @param properties its settings
     * @param observers who is told of its runs
     * @return the handle
     * @throws dev.rekindle.NativeLibraryException where the native library cannot be loaded
     */
    @Bean(destroyMethod = "close")
    @ConditionalOnMissingBean
    public Rekindle rekindle(RekindleProperties properties, ObjectProvider<RunObserver> observers) {
        Rekindle.Builder builder = properties.builder();
        observers.orderedStream().forEach(builder::observer);
        return builder.build();
    }

    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass(HealthIndicator.class)
    static class Health {
        @Bean
        @ConditionalOnMissingBean
        RekindleHealthIndicator rekindleHealthIndicator(Rekindle rekindle) {
            return new RekindleHealthIndicator(rekindle);
        }
    }

    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass({MeterRegistry.class, RekindleMetrics.class})
    static class Metrics {
        @Bean
        @ConditionalOnBean(MeterRegistry.class)
        @ConditionalOnMissingBean
        RekindleMetrics rekindleMetrics(MeterRegistry registry) {
            return new RekindleMetrics(registry);
        }
    }
}
