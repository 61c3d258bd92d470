// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.CriuStatistics;
import dev.rekindle.Mode;
import dev.rekindle.Phase;
import dev.rekindle.ProcessStatistics;
import dev.rekindle.RunKind;
import dev.rekindle.RunStatistics;
import java.io.PrintWriter;

/** The statistics of a run, for people. */
final class RunReport {
    private RunReport() {}

    /** As much as the options of the run ask for. */
    static void print(RunStatistics run, RunOptions options, PrintWriter out) {
        if (options.printStatistics()) {
            printAll(run, out);
        } else if (!options.quiet()) {
            summary(run, out);
        }
    }

    /** The run that made or read images, in one line. CRIU alone says nothing of the whole. */
    static String line(RunView run) {
        RunView.Criu criu = run.criu();
        return "%-12s %s%s%s"
                .formatted(
                        Texts.lower(run.kind()),
                        run.succeeded() ? "" : "failed (" + run.failure() + "), ",
                        run.durationSeconds().isZero() ? "" : Texts.seconds(run.durationSeconds()) + ", ",
                        run.kind() == RunKind.CHECKPOINT
                                ? "the tree stood still for %s, %d pages written"
                                        .formatted(Texts.seconds(criu.frozenSeconds()), criu.pagesWritten())
                                : "CRIU's own part %s, %d pages restored"
                                        .formatted(Texts.seconds(criu.restoreSeconds()), criu.pagesRestored()));
    }

    private static void summary(RunStatistics run, PrintWriter out) {
        if (run.simulated()) {
            out.println("SIMULATED GPU");
        }
        out.printf(
                "%s %s in %s: device %s, host %s, GPU images %s%n",
                Texts.lower(run.kind()),
                run.failure().map(failure -> "failed (" + failure + ")").orElse("done"),
                Texts.seconds(run.duration()),
                Texts.bytes(run.deviceBytes()),
                Texts.bytes(run.hostBytes()),
                Texts.bytes(run.imageBytes()));
        if (run.linkedBytes() > 0) {
            out.printf(
                    "%s of the GPU images were written, the rest has not changed and is linked%n",
                    Texts.bytes(run.writtenBytes()));
        }
        if (run.residentBytes() > 0) {
            out.printf(
                    run.kind() == RunKind.CHECKPOINT
                            ? "%s stay in the pool for the next restore%n"
                            : "%s were found in the pool%n",
                    Texts.bytes(run.residentBytes()));
        }
        for (ProcessStatistics process : run.processes()) {
            if (process.mode() == Mode.NATIVE) {
                out.printf(
                        "process %d: %s%n",
                        process.pid(),
                        Texts.mode(process.mode(), process.reason().orElse("")));
            }
        }
    }

    static void printAll(RunStatistics run, PrintWriter out) {
        summary(run, out);
        CriuStatistics criu = run.criu();
        if (run.kind() == RunKind.CHECKPOINT) {
            out.printf(
                    "criu: freezing %s, frozen %s, memdump %s, memwrite %s, %d of %d pages written%n",
                    Texts.seconds(criu.freezingTime()),
                    Texts.seconds(criu.frozenTime()),
                    Texts.seconds(criu.memdumpTime()),
                    Texts.seconds(criu.memwriteTime()),
                    criu.pagesWritten(),
                    criu.pagesScanned());
        } else {
            out.printf(
                    "criu: forking %s, restore %s, %d pages restored; pool %s, %s of GPU copying hidden%n",
                    Texts.seconds(criu.forkingTime()),
                    Texts.seconds(criu.restoreTime()),
                    criu.pagesRestored(),
                    run.poolWarm() ? "warm" : "cold",
                    Texts.seconds(run.overlap()));
        }
        if (!run.processes().isEmpty()) {
            Table table = new Table("PID", "MODE", "PHASE", "START", "TIME", "BYTES", "RATE");
            for (ProcessStatistics process : run.processes()) {
                for (Phase phase : process.phases()) {
                    table.row(
                            process.pid(),
                            Texts.mode(process.mode(), process.reason().orElse("")),
                            Texts.lower(phase.kind()),
                            Texts.seconds(phase.start()),
                            Texts.seconds(phase.duration()),
                            Texts.bytes(phase.bytes()),
                            phase.bytes() == 0 ? "-" : Texts.bytes((long) phase.bytesPerSecond()) + "/s");
                }
            }
            table.print(out);
        }
        out.flush();
    }
}
