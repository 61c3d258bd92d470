// SPDX-License-Identifier: MIT
package dev.rekindle.benchmarks;

import dev.rekindle.Rekindle;
import dev.rekindle.WarmPool;
import java.io.IOException;
import java.nio.file.Path;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/** A warm pool in the process that measures. */
@State(Scope.Benchmark)
public class WarmPoolState {
    final WarmPool pool;
    private final Path folder = Machine.newFolder(Machine.FOLDER);
    private final Rekindle rekindle = Machine.rekindle(folder).build();

    /** Opens it. */
    public WarmPoolState() {
        pool = rekindle.openPool();
    }

    /**
     * Closes it.
     *
     * @throws IOException where the folder of its socket cannot be removed
     */
    @TearDown(Level.Trial)
    public void close() throws IOException {
        pool.close();
        rekindle.close();
        FileCache.deleteTree(folder);
    }
}
