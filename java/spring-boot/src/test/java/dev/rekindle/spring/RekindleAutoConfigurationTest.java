// SPDX-License-Identifier: MIT
package dev.rekindle.spring;

import static org.assertj.core.api.Assertions.assertThat;

import dev.rekindle.CheckpointRequest;
import dev.rekindle.ErrorCode;
import dev.rekindle.Rekindle;
import dev.rekindle.test.SimulatedGpu;
import dev.rekindle.test.SimulatedGpuExtension;
import dev.rekindle.test.Worker;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.health.contributor.Health;
import org.springframework.boot.health.contributor.Status;
import org.springframework.boot.test.context.FilteredClassLoader;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;

@ExtendWith(SimulatedGpuExtension.class)
class RekindleAutoConfigurationTest {
    private final ApplicationContextRunner application =
            new ApplicationContextRunner().withConfiguration(AutoConfigurations.of(RekindleAutoConfiguration.class));

    @Test
    void aCheckpointWithTheSettingsOfTheApplicationIsMeasured(SimulatedGpu gpu) {
        Worker worker = gpu.startWorker("--mib", "8");
        application
                .withBean(SimpleMeterRegistry.class)
                .withPropertyValues("rekindle.images-root=" + gpu.folder())
                .withPropertyValues("rekindle.pool-socket=" + gpu.folder().resolve("pool.sock"))
                .withPropertyValues("rekindle.cuda-driver=" + gpu.driver())
                .run(context -> {
                    context.getBean(Rekindle.class).checkpoint(CheckpointRequest.of(worker.pid(), Path.of("images")));
                    assertThat(gpu.folder().resolve("images")).isDirectory();
                    assertThat(context.getBean(MeterRegistry.class)
                                    .get("rekindle.run")
                                    .tags("kind", "checkpoint", "outcome", "success")
                                    .timer()
                                    .count())
                            .isEqualTo(1);
                    Health health =
                            context.getBean(RekindleHealthIndicator.class).health();
                    assertThat(health.getStatus()).as("%s", health).isEqualTo(Status.UP);
                    assertThat(health.getDetails()).containsEntry("version", Rekindle.nativeVersion());
                });
    }

    @Test
    void aMachineThatCannotIsDownAndSaysWhy() {
        application.withPropertyValues("rekindle.criu=/nowhere/criu").run(context -> {
            Health health = context.getBean(RekindleHealthIndicator.class).health();
            assertThat(health.getStatus()).isEqualTo(Status.DOWN);
            assertThat(health.getDetails()).containsEntry("code", ErrorCode.CRIU_NOT_FOUND);
            assertThat(health.getDetails().get("reason")).asString().contains("/nowhere/criu");
        });
    }

    @Test
    void anApplicationWithoutHealthAndMetricsHasTheHandleAlone() {
        application
                .withClassLoader(new FilteredClassLoader("org.springframework.boot.health", "io.micrometer"))
                .run(context -> {
                    assertThat(context).hasSingleBean(Rekindle.class);
                    assertThat(context).doesNotHaveBean("rekindleHealthIndicator");
                });
    }
}
