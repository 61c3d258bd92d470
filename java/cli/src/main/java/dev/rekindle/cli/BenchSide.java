// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.CheckpointImage;
import dev.rekindle.CheckpointRequest;
import dev.rekindle.ErrorCode;
import dev.rekindle.ImageProcess;
import dev.rekindle.Rekindle;
import dev.rekindle.RestoreRequest;
import dev.rekindle.RunKind;
import dev.rekindle.RunStatistics;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** A way in which the service of a benchmark comes up. */
interface BenchSide {
    /** Begins it, and returns the root of its tree. What it waits for belongs to what is measured. */
    long begin() throws IOException, InterruptedException;

    /** What is said of its last run, if anything. */
    Optional<RunView> lastRun();

    /** A file that it reads, which is not in memory where the page cache is cold. */
    Path file() throws IOException;

    /** Where its programs say what went wrong. */
    Path log();

    /** Process ids that have to be free before it. */
    List<Long> pids();

    /** The program from its beginning. */
    record ColdStart(Rekindle rekindle, List<String> command, Namespaces namespaces, Path program, Launch launch)
            implements BenchSide {
        @Override
        public long begin() throws IOException, InterruptedException {
            Process starter =
                    rekindle.prepare(launch.builder(namespaces.words(command))).start();
            return namespaces.pid(starter, launch.output());
        }

        @Override
        public Optional<RunView> lastRun() {
            return Optional.empty();
        }

        @Override
        public Path file() throws IOException {
            return program.toRealPath();
        }

        @Override
        public Path log() {
            return launch.output();
        }

        @Override
        public List<Long> pids() {
            return List.of();
        }
    }

    /** One that leaves and reads images. */
    interface Images extends BenchSide {
        Path folder();

        Namespaces namespaces();

        /** Checkpoints a tree, which ends. */
        void dump(long pid) throws IOException, InterruptedException;

        @Override
        default Path file() throws IOException {
            try (Stream<Path> files = Files.list(folder())) {
                return files.max(Comparator.comparingLong(file -> file.toFile().length()))
                        .orElse(folder());
            }
        }

        @Override
        default Path log() {
            return folder().resolve("restore.log");
        }

        @Override
        default List<Long> pids() {
            return namespaces().pids()
                    ? List.of()
                    : CheckpointImage.open(folder()).processes().stream()
                            .map(ImageProcess::pid)
                            .toList();
        }
    }

    /** With this program. */
    final class Ours implements Images {
        private final Rekindle rekindle;
        private final TreeOptions tree;
        private final DumpOptions dump;
        private final Namespaces namespaces;
        private final Path folder;
        private @Nullable RunView lastRun;

        Ours(Rekindle rekindle, TreeOptions tree, DumpOptions dump, Namespaces namespaces, Path folder) {
            this.rekindle = rekindle;
            this.namespaces = namespaces;
            this.tree = tree;
            this.dump = dump;
            this.folder = folder;
        }

        @Override
        public void dump(long pid) {
            CheckpointRequest.Builder request = CheckpointRequest.builder(pid, folder);
            dump.apply(tree, request);
            tree.apply(request);
            rekindle.checkpoint(request.build());
        }

        @Override
        public long begin() {
            RestoreRequest.Builder request = RestoreRequest.builder(folder);
            tree.apply(request);
            var restored = rekindle.restore(request.build());
            lastRun = RunView.of(restored.statistics());
            return restored.pid();
        }

        @Override
        public Optional<RunView> lastRun() {
            return Optional.ofNullable(lastRun);
        }

        @Override
        public Path folder() {
            return folder;
        }

        @Override
        public Namespaces namespaces() {
            return namespaces;
        }
    }

    /** With criu itself, and with no plugin but those that are named. */
    record Stock(
            Path criu,
            @Nullable Path plugins,
            TreeOptions tree,
            DumpOptions dump,
            Namespaces namespaces,
            Path folder,
            Path empty)
            implements Images {
        @Override
        public void dump(long pid) throws IOException, InterruptedException {
            Files.createDirectories(folder);
            var words = words("dump", "dump.log");
            words.addAll(List.of("-t", String.valueOf(pid)));
            dump.ghostLimit(tree).ifPresent(limit -> words.addAll(List.of("--ghost-limit", limit)));
            words.addAll(tree.words());
            run(words, "dump.log");
        }

        @Override
        public long begin() throws IOException, InterruptedException {
            Path pid = folder.resolve("bench.pid");
            Files.deleteIfExists(pid);
            var words = words("restore", "restore.log");
            words.addAll(List.of("-d", "--pidfile", pid.toString()));
            words.addAll(tree.words());
            run(words, "restore.log");
            return Long.parseLong(Files.readString(pid).strip());
        }

        private List<String> words(String action, String log) {
            return new ArrayList<>(List.of(
                    criu.toString(),
                    action,
                    "-D",
                    folder.toString(),
                    "-o",
                    log,
                    "-L",
                    (plugins == null ? empty : plugins).toString()));
        }

        /** In a session of its own, as Ctrl-C ends all of this one's. */
        private void run(List<String> words, String log) throws IOException, InterruptedException {
            words.addFirst("setsid");
            Process process = new ProcessBuilder(words)
                    .redirectInput(new File("/dev/null"))
                    .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                    .redirectError(ProcessBuilder.Redirect.DISCARD)
                    .start();
            int status = awaitEnd(process);
            if (status != 0) {
                if (Thread.interrupted()) {
                    throw new InterruptedException();
                }
                throw new CommandException(
                        ErrorCode.CRIU_FAILED,
                        "%s %s ended with exit status %d: %s"
                                .formatted(criu, words.get(2), status, lastError(folder.resolve(log))));
            }
        }

        /** Also where this is to end: what it brings back is to be ended too, and half way it would keep the network locked. */
        private static int awaitEnd(Process process) {
            boolean interrupted = false;
            try {
                while (true) {
                    try {
                        return process.waitFor();
                    } catch (InterruptedException end) {
                        interrupted = true;
                    }
                }
            } finally {
                if (interrupted) {
                    Thread.currentThread().interrupt();
                }
            }
        }

        /** The one before it gives up: earlier ones may be harmless, as that of a limit which it cannot raise. */
        static String lastError(Path log) {
            try (Stream<String> lines = Files.lines(log, StandardCharsets.ISO_8859_1)) {
                return lines.takeWhile(line -> !line.contains("FAILED"))
                        .filter(line -> line.contains("Error "))
                        .reduce((earlier, later) -> later)
                        .map(String::strip)
                        .orElse("see " + log);
            } catch (IOException | java.io.UncheckedIOException none) {
                return "it has left no log";
            }
        }

        @Override
        public Optional<RunView> lastRun() {
            return Optional.of(RunView.of(RunStatistics.read(folder, RunKind.RESTORE)));
        }
    }
}
