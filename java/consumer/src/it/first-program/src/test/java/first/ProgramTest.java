// SPDX-License-Identifier: MIT
package first;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.rekindle.CheckpointImage;
import dev.rekindle.CheckpointRequest;
import dev.rekindle.Rekindle;
import dev.rekindle.RestoreRequest;
import dev.rekindle.test.SimulatedGpu;
import dev.rekindle.test.SimulatedGpuExtension;
import dev.rekindle.test.Worker;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

// begin: first-test
@ExtendWith(SimulatedGpuExtension.class)
class ProgramTest {
    @Test
    void aProcessComesBackWithWhatItHad(SimulatedGpu gpu) {
        try (Rekindle rekindle = gpu.rekindle().build()) {
            Worker worker = gpu.startWorker("--mib", "8");
            worker.changeContents();
            String before = worker.contents();
            Path images = gpu.folder().resolve("images");
            rekindle.checkpoint(CheckpointRequest.of(worker.pid(), images));
            worker.awaitEnd();
            assertTrue(CheckpointImage.open(images).restorableOn(rekindle.gpus()).possible());
            rekindle.restore(RestoreRequest.of(images));
            assertEquals(before, worker.contents());
            worker.awaitSteps();
        }
    }
}
// end: first-test
