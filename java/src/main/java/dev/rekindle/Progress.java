// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.Objects;

/**
 * How far a run has come. Immutable, so any threads may use it.
 *
 * @param phase what is being done; {@link PhaseKind#NONE} as long as nothing was reported
 * @param bytesDone bytes moved up to now
 * @param bytesTotal bytes to move in all, 0 until that is known
 */
public record Progress(PhaseKind phase, long bytesDone, long bytesTotal) {
    /**
     * Checks that nothing is null.
     *
     * @param phase what is being done; {@link PhaseKind#NONE} as long as nothing was reported
     * @param bytesDone bytes moved up to now
     * @param bytesTotal bytes to move in all, 0 until that is known
     */
    public Progress {
        Objects.requireNonNull(phase, "phase");
    }

    static final Progress NONE = new Progress(PhaseKind.NONE, 0, 0);
}
