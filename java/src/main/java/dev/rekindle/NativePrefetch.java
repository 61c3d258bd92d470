// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Objects;
import java.util.concurrent.TimeUnit;

/** What a pool fills for a folder. */
final class NativePrefetch implements Prefetch {
    private static final long LOOK_AGAIN_MILLISECONDS = 5;

    private final NativePool pool;
    private final Path directory;

    NativePrefetch(NativePool pool, Path directory) {
        this.pool = pool;
        this.directory = directory;
    }

    @Override
    public long remaining() {
        return pool.prefetched(directory);
    }

    @Override
    public boolean await(Duration limit) throws InterruptedException {
        Objects.requireNonNull(limit, "limit");
        long begin = System.nanoTime();
        while (remaining() > 0) {
            if (Duration.ofNanos(System.nanoTime() - begin).compareTo(limit) >= 0) {
                return false;
            }
            TimeUnit.MILLISECONDS.sleep(LOOK_AGAIN_MILLISECONDS);
        }
        return true;
    }

    @Override
    public String toString() {
        return "Prefetch[directory=" + directory + "]";
    }
}
