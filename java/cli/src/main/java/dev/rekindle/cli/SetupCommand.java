// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/**
 * What container engines have to be told in files, as nothing of their own environment reaches the criu that they start.
 */
@Command(
        name = "setup",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        description = "Prepare this machine's container engine.",
        synopsisSubcommandLabel = "COMMAND")
final class SetupCommand {
    /** What {@code --json} prints; the notes are what it has left alone, and why. */
    record Document(List<Path> written, List<Path> removed, List<String> notes) {}

    @Command(
            mixinStandardHelpOptions = true,
            description = {
                "Let Podman, and whatever else starts runc, checkpoint and restore with Rekindle. " + Doctor.CRUN + ".",
                "Writes /etc/criu/default.conf, /etc/criu/runc.conf, /etc/rekindle.conf and /etc/cdi/rekindle.json, and "
                        + "links the patched criu in /usr/local/sbin. What else is in these files stays, and so does a "
                        + "rekindle.json or a link of somebody else's.",
                "Containers with named semaphores, with mounts that NVIDIA's hooks have made, and with --init can be "
                        + "checkpointed and restored then too; for the last, where Podman's init program is a link, "
                        + "/etc/containers/containers.conf.d/rekindle.conf names what it leads to."
            })
    int podman(
            @Mixin Output output,
            @Option(names = "--undo", description = "Take all of it back.") boolean undo,
            @Option(
                            names = "--root",
                            paramLabel = "DIR",
                            defaultValue = "/",
                            description =
                                    "Of another system, as it is mounted here. It has this installation's files at "
                                            + "the same paths.")
                    Path root)
            throws IOException {
        if (!Files.isDirectory(root)) {
            throw new IllegalArgumentException("--root " + root + " is no folder with a system in it");
        }
        var podman = new Podman(root);
        if (undo) {
            podman.undo();
        } else {
            podman.prepare(Installation.find());
        }
        output.print(
                new Document(podman.written, podman.removed, podman.notes),
                out -> {
                    podman.removed.forEach(file -> out.println("removed " + file));
                    podman.written.forEach(file -> out.println("wrote " + file));
                    podman.notes.forEach(out::println);
                    if (podman.hasDevice) {
                        out.println(
                                "podman run --device " + AgentDevice.KIND + "=all ... has the agent in its container");
                    }
                },
                undo ? "the setup is taken back" : "Podman is set up");
        return 0;
    }

    /** The files of one system. */
    private static final class Podman {
        private static final String SECTION = "[rekindle]";
        /** What the user has set already stays as it is. The work folder of a run goes with its container. */
        private static final Map<String, String> SETTINGS =
                new TreeMap<>(Map.of("CRIU_CUDA_CONTEXT_POOL", "1", "REKINDLE_KEPT_STATISTICS", "/var/log/rekindle"));

        /** What containers need that have named semaphores, and mounts that runc does not know of, as NVIDIA's hooks make. */
        private static final List<String> OF_CONTAINERS = List.of("link-remap", "external mnt[]");

        /** Of every criu, and of those that runc starts. */
        private final Path everyCriu;

        private final Path runc;
        private final Path settings;
        private final Path device;
        private final PodmanInit init;
        /** First in root's PATH and in that of services. */
        private final Path link;

        private final List<Path> written = new ArrayList<>();
        private final List<Path> removed = new ArrayList<>();
        private final List<String> notes = new ArrayList<>();
        /** Whether containers can be given the agent by its device. */
        private boolean hasDevice;

        Podman(Path root) {
            everyCriu = root.resolve("etc/criu/default.conf");
            runc = root.resolve("etc/criu/runc.conf");
            settings = root.resolve("etc/rekindle.conf");
            device = root.resolve("etc/cdi/rekindle.json");
            init = new PodmanInit(root);
            link = root.resolve("usr/local/sbin/criu");
        }

        void prepare(Installation installation) throws IOException {
            // All of them are read before one is written.
            MarkedLines ofEvery = MarkedLines.read(everyCriu);
            MarkedLines ofRunc = MarkedLines.read(runc);
            MarkedLines ofRekindle = MarkedLines.read(settings);
            MarkedLines ofInit = MarkedLines.read(init.file());
            List<String> plugins = List.of("libdir " + installation.plugins());
            note(everyCriu, ofEvery.write(plugins));
            // Another criu would refuse what it does not know, and default.conf is for all of them.
            List<String> all = new ArrayList<>(plugins);
            all.addAll(OF_CONTAINERS);
            if (linked(installation.patchedCriu())) {
                all.addAll(List.of("dump-threads 0", "restore-threads 0"));
            }
            note(runc, ofRunc.write(all));
            note(init.file(), ofInit.write(PodmanInit.SECTION, init.lines()));
            note(settings, ofRekindle.write(SECTION, undecided(ofRekindle.others())));
            if (Files.exists(device, LinkOption.NOFOLLOW_LINKS) && !isOurs(device)) {
                notes.add("there is a " + device + " already that is not of this command, which stays: 'rekindle cdi'"
                        + " prints the one that would be there");
            } else {
                MarkedLines.replace(
                        device, AgentDevice.specification(installation.agent(), null), StandardCharsets.UTF_8);
                written.add(device);
                hasDevice = true;
            }
        }

        void undo() throws IOException {
            MarkedLines ofEvery = MarkedLines.read(everyCriu);
            MarkedLines ofRunc = MarkedLines.read(runc);
            MarkedLines ofRekindle = MarkedLines.read(settings);
            MarkedLines ofInit = MarkedLines.read(init.file());
            note(everyCriu, ofEvery.write(List.of()));
            note(init.file(), ofInit.write(PodmanInit.SECTION, List.of()));
            note(runc, ofRunc.write(List.of()));
            note(settings, ofRekindle.write(SECTION, List.of()));
            if (Files.exists(device, LinkOption.NOFOLLOW_LINKS)) {
                if (isOurs(device)) {
                    Files.delete(device);
                    removed.add(device);
                } else {
                    notes.add(device + " is not of this command, so it stays");
                }
            }
            if (isOurLink()) {
                Files.delete(link);
                removed.add(link);
            }
            for (Path file : List.of(runc, everyCriu, device, init.file())) {
                removeIfEmptied(file.resolveSibling(""));
            }
        }

        private static List<String> undecided(List<String> others) {
            return SETTINGS.entrySet().stream()
                    .filter(setting ->
                            others.stream().noneMatch(line -> line.strip().startsWith(setting.getKey())))
                    .map(setting -> setting.getKey() + "=" + setting.getValue())
                    .toList();
        }

        private void note(Path file, boolean changed) {
            if (changed) {
                (Files.exists(file) ? written : removed).add(file);
            }
        }

        private static boolean isOurs(Path file) throws IOException {
            return Files.isRegularFile(file)
                    && AgentDevice.isSpecification(Files.readString(file, StandardCharsets.ISO_8859_1));
        }

        /** Returns whether the patched criu is what is found under that name. */
        private boolean linked(Optional<Path> criu) throws IOException {
            if (criu.isEmpty()) {
                notes.add(
                        "the patched criu is not installed: containers are restored with the criu in PATH, which takes"
                                + " longer");
                return false;
            }
            if (Files.exists(link, LinkOption.NOFOLLOW_LINKS) && !isOurLink()) {
                notes.add("there is a " + link + " already, which stays: the patched criu, " + criu.get()
                        + ", is faster; link it there and run this again");
                return false;
            }
            Files.deleteIfExists(link);
            WholeFile.makeFolder(link.resolveSibling(""));
            Files.createSymbolicLink(link, criu.get());
            written.add(link);
            return true;
        }

        private boolean isOurLink() throws IOException {
            return Files.isSymbolicLink(link) && Installation.isPatched(Files.readSymbolicLink(link));
        }

        /** Only one that something was removed from just now; an empty one of somebody else's stays. */
        private void removeIfEmptied(Path folder) throws IOException {
            if (Files.isDirectory(folder)
                    && removed.stream().anyMatch(file -> file.resolveSibling("").equals(folder))) {
                try (var files = Files.list(folder)) {
                    if (files.findAny().isPresent()) {
                        return;
                    }
                }
                Files.delete(folder);
            }
        }
    }
}
