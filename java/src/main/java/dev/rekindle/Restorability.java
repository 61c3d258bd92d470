// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.Objects;
import java.util.Optional;

/**
 * Whether a checkpoint can be restored on some GPUs. Immutable, so any threads may use it.
 *
 * @param reason why not: {@link ErrorCode#NO_SPACE} where memory has to become free first, {@link ErrorCode#INCOMPATIBLE}
 *     where none of them will do, {@link ErrorCode#INVALID_ARGUMENT} for a device map that names GPUs that are not there;
 *     empty where it can
 */
public record Restorability(Optional<RekindleException> reason) {
    /**
     * Checks that nothing is null.
     *
     * @param reason why not; empty where it can
     */
    public Restorability {
        Objects.requireNonNull(reason, "reason");
    }

    /**
     * Whether it can.
     *
     * @return true where there is no reason why not
     */
    public boolean possible() {
        return reason.isEmpty();
    }
}
