// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.CriuStatistics;
import dev.rekindle.Phase;
import dev.rekindle.ProcessStatistics;
import dev.rekindle.RunKind;
import dev.rekindle.RunStatistics;
import java.io.PrintWriter;

/** The statistics of a run, for people. */
final class RunReport {
    private RunReport() {}

    static void print(RunStatistics run, PrintWriter out) {
        if (run.simulated()) {
            out.println("SIMULATED GPU");
        }
        out.printf(
                "%s %s in %s: device %s, host %s, GPU images %s%n",
                Texts.lower(run.kind()),
                run.succeeded() ? "done" : "failed (" + run.failure() + ")",
                Texts.seconds(run.duration()),
                Texts.bytes(run.deviceBytes()),
                Texts.bytes(run.hostBytes()),
                Texts.bytes(run.imageBytes()));
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
                            Texts.mode(process.mode(), process.reason()),
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
