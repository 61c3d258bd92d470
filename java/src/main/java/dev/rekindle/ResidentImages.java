// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import dev.rekindle.internal.ffi.rekindle_resident_images;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Objects;
import java.util.Optional;

/**
 * The GPU images of a folder that a pool has in device memory or pinned memory, or is filling it from, at one moment. Immutable, so any
 * threads may use it. Sizes are bytes.
 *
 * @param directory the folder, as the pool saw it when it was asked for; empty where that is not known
 * @param bytes of memory, without what processes have taken and the pool has let go of
 * @param bytesFilled of them, so far
 * @param age since it was asked for
 * @param count the images, one for each process
 * @param state how far it is
 * @param taken whether a run has them already; else they wait for one
 * @param parked whether a checkpoint has left them there, see {@link Park}; else they were read
 * @param tier where they are
 */
public record ResidentImages(
        Optional<Path> directory,
        long bytes,
        long bytesFilled,
        Duration age,
        int count,
        State state,
        boolean taken,
        boolean parked,
        Tier tier) {
    /** How far it is. */
    public enum State {
        /** Being read, or waiting for it. */
        FILLING,
        /** All of it is there, and, where the pool compares checksums, right. */
        FILLED,
        /** It could not be filled; {@link Prefetch#remaining} says why. */
        FAILED;

        private static State of(int code) {
            if (code == RekindleNative.REKINDLE_RESIDENT_FILLED()) {
                return FILLED;
            }
            return code == RekindleNative.REKINDLE_RESIDENT_FAILED() ? FAILED : FILLING;
        }
    }

    /**
     * Checks that nothing is null.
     *
     * @param directory the folder; empty where that is not known
     * @param bytes of memory
     * @param bytesFilled of them, so far
     * @param age since it was asked for
     * @param count the images
     * @param state how far it is
     * @param taken whether a run has them already
     * @param parked whether a checkpoint has left them there
     * @param tier where they are
     */
    public ResidentImages {
        Objects.requireNonNull(directory, "directory");
        Objects.requireNonNull(age, "age");
        Objects.requireNonNull(state, "state");
        Objects.requireNonNull(tier, "tier");
    }

    static ResidentImages of(MemorySegment images) {
        return new ResidentImages(
                Absent.unlessText(rekindle_resident_images.directory(images))
                        .map(known -> NativePath.of(rekindle_resident_images.directory(images))),
                rekindle_resident_images.bytes(images),
                rekindle_resident_images.bytes_filled(images),
                // System.nanoTime() reads the clock that the pool has read.
                Duration.ofNanos(System.nanoTime() - rekindle_resident_images.since(images)),
                rekindle_resident_images.images(images),
                State.of(rekindle_resident_images.state(images)),
                rekindle_resident_images.taken(images) != 0,
                rekindle_resident_images.parked(images) != 0,
                Tier.of(rekindle_resident_images.tier(images)));
    }
}
