// SPDX-License-Identifier: MIT

/**
 * Tests of programs that use Rekindle, without a GPU: {@link dev.rekindle.test.SimulatedGpu} has the simulated driver, which
 * comes with this module, and starts processes that use it. They are checkpointed and restored by a real CRIU, as root.
 *
 * <pre>{@code
 * @ExtendWith(SimulatedGpuExtension.class)
 * class ServiceTest {
 *     @Test
 *     void aProcessComesBackWithWhatItHad(SimulatedGpu gpu) {
 *         try (Rekindle rekindle = gpu.rekindle().build()) {
 *             Worker worker = gpu.startWorker();
 *             String before = worker.contents();
 *             Path images = gpu.folder().resolve("images");
 *             rekindle.checkpoint(CheckpointRequest.of(worker.pid(), images));
 *             worker.awaitEnd();
 *             rekindle.restore(RestoreRequest.of(images));
 *             assertEquals(before, worker.contents());
 *         }
 *     }
 * }
 * }</pre>
 *
 * <p>{@code criu} is the one that the environment variable {@code REKINDLE_CRIU} names, or that in the path. Nothing here
 * accepts or returns null; what is given it all the same throws {@link NullPointerException}.
 */
@NullMarked
package dev.rekindle.test;

import org.jspecify.annotations.NullMarked;
