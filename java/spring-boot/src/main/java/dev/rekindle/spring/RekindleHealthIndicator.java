// SPDX-License-Identifier: MIT
package dev.rekindle.spring;

import dev.rekindle.Rekindle;
import dev.rekindle.RekindleException;
import java.util.Objects;
import java.util.Optional;
import org.springframework.boot.health.contributor.Health;
import org.springframework.boot.health.contributor.HealthIndicator;

/**
 * Up where this machine can checkpoint and restore, see {@link Rekindle#check}; else down with {@code code} and
 * {@code reason}. A missing GPU is no reason. Each look asks CRIU, which takes some milliseconds. Any threads may use it.
 */
public final class RekindleHealthIndicator implements HealthIndicator {
    private final Rekindle rekindle;

    /**
     * The health of a handle.
     *
     * @param rekindle the handle
     */
    public RekindleHealthIndicator(Rekindle rekindle) {
        this.rekindle = Objects.requireNonNull(rekindle, "rekindle");
    }

    @Override
    public Health health() {
        Optional<RekindleException> missing = rekindle.check();
        return missing.map(reason -> Health.down()
                        .withDetail("code", reason.code())
                        .withDetail("reason", String.valueOf(reason.getMessage()))
                        .build())
                .orElseGet(() -> Health.up()
                        .withDetail("version", Rekindle.nativeVersion())
                        .build());
    }
}
