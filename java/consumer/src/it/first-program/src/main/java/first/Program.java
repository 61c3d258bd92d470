// SPDX-License-Identifier: MIT
// begin: first-program
package first;

import dev.rekindle.CheckpointRequest;
import dev.rekindle.Rekindle;
import dev.rekindle.RestoreRequest;
import dev.rekindle.RestoredProcess;
import java.nio.file.Path;

/** Starts the program that it is given, checkpoints it at the first Enter, and brings it back at the second. */
public final class Program {
    public static void main(String[] command) throws Exception {
        Path images = Path.of("images");
        try (Rekindle rekindle = Rekindle.create()) {
            Process process = rekindle.prepare(new ProcessBuilder(command)).start();
            System.out.println("process " + process.pid() + " runs");
            System.in.read();
            rekindle.checkpoint(CheckpointRequest.of(process.pid(), images));
            process.waitFor(); // its process id has to be free again
            System.out.println("process " + process.pid() + " is in " + images);
            System.in.read();
            RestoredProcess restored = rekindle.restore(RestoreRequest.of(images));
            System.out.println("process " + restored.pid() + " goes on");
        }
    }
}
// end: first-program
