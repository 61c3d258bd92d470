// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static dev.rekindle.cli.Finding.Status.FAIL;
import static dev.rekindle.cli.Finding.Status.WARN;

import dev.rekindle.ErrorCode;
import dev.rekindle.PoolStatistics;
import dev.rekindle.Rekindle;
import dev.rekindle.RekindleException;
import dev.rekindle.WarmPool;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** What this machine has of what checkpoints and restores need. Only what was looked at is said. */
final class Doctor {
    /** Without this nothing can be checkpointed. */
    private static final String ANYTHING = "CAP_SYS_ADMIN";

    /** Without the others what some processes have: other users, connections, more privileges than this has. By their bits. */
    private static final Map<String, Integer> NEEDED = new TreeMap<>(Map.of(
            "CAP_CHOWN",
            0,
            "CAP_DAC_OVERRIDE",
            1,
            "CAP_KILL",
            5,
            "CAP_SETGID",
            6,
            "CAP_SETUID",
            7,
            "CAP_NET_ADMIN",
            12,
            "CAP_SYS_PTRACE",
            19,
            ANYTHING,
            21));

    /** How many users a namespace maps that has all of them. */
    private static final long ALL_USERS = 0xffffffffL;

    /** What is known of it. */
    static final String CRUN =
            "Debian 12's crun is built without CRIU, and Debian 13's dumps containers that it then does"
                    + " not restore";

    private static final long LOCKED_BYTES = 1L << 30;

    private final Rekindle rekindle;
    private final Settings settings;
    private final List<Finding> findings = new ArrayList<>();

    Doctor(Rekindle rekindle, Settings settings) {
        this.rekindle = rekindle;
        this.settings = settings;
    }

    List<Finding> examine(@Nullable Path images) throws IOException {
        kernel();
        findings.add(capabilities(
                Machine.line("/proc/self/status", "CapEff:").orElse("0"),
                Machine.text("/proc/self/uid_map").orElse("")));
        Optional<Path> criu = Optional.empty();
        if (areSettingsRead()) {
            criu = parts();
            findings.addAll(new GpuDoctor(settings.cudaDriver(), GpuDoctor.Sources.ofTheMachine()).examine());
            pool();
        }
        limits();
        network(criu);
        containers();
        findings.addAll(images == null ? List.of(FolderDoctor.NOT_NAMED) : FolderDoctor.examine(images));
        return findings;
    }

    private void kernel() {
        String release = Machine.text("/proc/sys/kernel/osrelease").orElse("unknown");
        findings.add(Finding.of(
                FAIL,
                Machine.version(release) >= Machine.version("5.9"),
                "kernel",
                "Linux " + release,
                "5.9 or newer, which has pidfds and CAP_CHECKPOINT_RESTORE",
                "use a newer kernel"));
    }

    /** As the kernel says them: a mask of the capabilities, and which users of the host those of this namespace are. */
    static Finding capabilities(String effective, String users) {
        long has = Long.parseUnsignedLong(effective, 16);
        String missing = NEEDED.entrySet().stream()
                .filter(each -> (has & 1L << each.getValue()) == 0)
                .map(Map.Entry::getKey)
                .collect(Collectors.joining(", "));
        boolean hosts = users.matches("0 +0 +" + ALL_USERS);
        return Finding.of(
                missing.contains(ANYTHING) ? FAIL : WARN,
                missing.isEmpty() && hosts,
                "capabilities",
                (missing.isEmpty() ? "root's" : "no " + missing) + (hosts ? "" : ", in a user namespace"),
                "root's capabilities in the host's own user namespace",
                "run rekindle as root, and a container of it with --privileged");
    }

    /** All that depends on them would fail with the same sentence, and nothing be known of it. */
    private boolean areSettingsRead() {
        try {
            rekindle.poolProgram();
        } catch (RekindleException failure) {
            if (failure.code() == ErrorCode.INVALID_ARGUMENT || failure.code() == ErrorCode.NO_DRIVER) {
                findings.add(new Finding(
                        "settings",
                        FAIL,
                        failure.getMessage(),
                        "options, environment and settings file that can be read",
                        "correct that; criu, plugin, driver and pool are looked at then"));
                return false;
            }
        }
        findings.add(Finding.pass("settings", "can be read"));
        return true;
    }

    /** What criu's own check finds missing. A plugin that is nowhere has a line of its own. */
    private Optional<String> missing(Path criu) {
        try {
            rekindle.pluginFolder();
        } catch (RekindleException elsewhere) {
            return Machine.succeeds(criu.toString(), "check")
                    ? Optional.empty()
                    : Optional.of("'criu check' fails with " + criu);
        }
        return rekindle.check().map(Throwable::getMessage);
    }

    /** Returns the criu, where there is one. */
    private Optional<Path> parts() throws IOException {
        Optional<Path> criu = part("criu", rekindle::criuProgram, "install the whole release, or name one with --criu");
        if (criu.isPresent()) {
            Optional<String> missing = missing(criu.get());
            findings.add(Finding.of(
                    FAIL,
                    missing.isEmpty(),
                    "criu check",
                    missing.orElse("looks good"),
                    "a kernel and privileges that criu can work with",
                    "run '" + criu.get() + " check' to see what it lacks"));
            boolean patched = Machine.output(criu.get().toString(), "restore", "--help")
                    .orElse("")
                    .contains("--restore-threads");
            findings.add(Finding.of(
                    WARN,
                    patched,
                    "criu build",
                    patched ? "with Rekindle's patches" : "without Rekindle's patches",
                    "the patches, for host memory that is restored by several threads",
                    "take the criu of this release"));
            boolean tracks = Machine.succeeds(criu.get().toString(), "check", "--feature", "mem_dirty_track");
            findings.add(Finding.of(
                    WARN,
                    tracks,
                    "soft-dirty",
                    tracks ? "the kernel tracks changed pages" : "the kernel does not track changed pages",
                    "CONFIG_MEM_SOFT_DIRTY, for criu's pre-dump only",
                    "nothing where pre-dump is not used"));
        }
        Optional<Path> plugin = part(
                "plugin", rekindle::pluginFolder, "install the whole release, or name its folder with --plugin-dir");
        if (criu.isPresent() && plugin.isPresent()) {
            findings.add(PluginDoctor.examine(criu.get(), plugin.get()));
        }
        part("agent", rekindle::agent, "install the whole release");
        part("pool program", rekindle::poolProgram, "install the whole release, or set REKINDLE_POOL_PROGRAM");
        return criu;
    }

    private Optional<Path> part(String name, Supplier<Path> find, String fix) {
        try {
            Path path = find.get();
            findings.add(Finding.pass(name, path.toString()));
            return Optional.of(path);
        } catch (RekindleException failure) {
            findings.add(new Finding(name, FAIL, failure.getMessage(), "that of this release", fix));
            return Optional.empty();
        }
    }

    private void pool() {
        try (WarmPool pool = rekindle.connectPool()) {
            PoolStatistics statistics = pool.statistics();
            findings.add(Finding.of(
                    WARN,
                    statistics.contexts() > 0,
                    "pool",
                    "pid %d, %d warm contexts%s"
                            .formatted(
                                    statistics.pid(),
                                    statistics.contexts(),
                                    statistics.simulated() ? ", SIMULATED GPU" : ""),
                    "a warm context for each GPU",
                    "see its log"));
        } catch (RekindleException none) {
            findings.add(new Finding(
                    "pool",
                    WARN,
                    none.getMessage(),
                    "a running one, or each restore starts its own, which takes up to 0.3 s",
                    "start one with 'rekindle pool start'"));
        }
    }

    private void limits() {
        String locked = Machine.line("/proc/self/limits", "Max locked memory")
                .orElse("0")
                .split(" +", -1)[0];
        boolean enough = locked.equals("unlimited") || Long.parseLong(locked) >= LOCKED_BYTES || Machine.isRoot();
        findings.add(Finding.of(
                WARN,
                enough,
                "locked memory",
                locked.equals("unlimited") ? locked : Texts.bytes(Long.parseLong(locked)),
                "1 GiB or more where the pool does not run as root",
                "raise it with 'ulimit -l' or LimitMEMLOCK="));
        String pages =
                Machine.text("/sys/kernel/mm/transparent_hugepage/enabled").orElse("[never]");
        findings.add(Finding.of(
                WARN,
                !pages.contains("[never]"),
                "huge pages",
                pages,
                "madvise or always, which makes restores of much host memory faster",
                "echo madvise >/sys/kernel/mm/transparent_hugepage/enabled"));
        String ring = Machine.text("/proc/sys/kernel/io_uring_disabled").orElse("0");
        findings.add(
                Finding.pass(
                        "io_uring",
                        ring.equals("2")
                                ? "disabled"
                                : "allowed, and criu cannot dump programs that use it; those of 'rekindle run' find it disabled"));
    }

    /**
     * With what CRIU keeps packets away from a tree while it is stopped. Unless it is told otherwise it runs iptables; nftables
     * it has as a library, or has not, whatever is installed.
     */
    static Finding packetFilter(Optional<Path> iptables, boolean nftables) {
        return Finding.of(
                WARN,
                iptables.isPresent() || nftables,
                "packet filter",
                iptables.map(Path::toString)
                        .orElse(
                                nftables
                                        ? "no iptables, but this criu has nftables:"
                                                + " --criu-argument --network-lock --criu-argument nftables"
                                        : "no iptables, and no nftables in this criu"),
                "iptables for --tcp-established and --net-namespace, as criu locks connections with it",
                "install iptables");
    }

    private void network(Optional<Path> criu) {
        findings.add(packetFilter(
                Machine.program("iptables"),
                criu.isPresent()
                        && Machine.succeeds(criu.get().toString(), "check", "--feature", "network_lock_nftables")));
        findings.add(Finding.of(
                WARN,
                Machine.program("ip").isPresent(),
                "iproute2",
                Machine.program("ip").map(Path::toString).orElse("no ip program"),
                "ip, for 'rekindle run --net-namespace'",
                "install iproute2"));
    }

    /** That is not known to be enough, whatever it is built with. */
    private static Finding crun(String found, boolean withCriu) {
        return new Finding(
                "crun",
                WARN,
                found + (withCriu ? ", built with CRIU" : ", built without CRIU"),
                "runc, where containers are checkpointed: " + CRUN,
                "leave it for other containers, and use runc for these: podman --runtime runc");
    }

    private void containers() throws IOException {
        boolean inside = Files.exists(Path.of("/run/.containerenv")) || Files.exists(Path.of("/.dockerenv"));
        findings.add(Finding.of(
                WARN,
                !inside,
                "container",
                inside ? "this is one" : "this is none that Podman or Docker has marked",
                "the host's processes, or a privileged container with its own",
                "checkpoint containers from the host"));
        for (String runtime : List.of("podman", "runc", "crun")) {
            Optional<Path> program = Machine.program(runtime);
            if (program.isEmpty()) {
                findings.add(Finding.pass(runtime, "not installed"));
                continue;
            }
            String version =
                    Machine.output(program.get().toString(), "--version").orElse("");
            String found = version.lines().findFirst().orElse(program.get().toString());
            findings.add(
                    runtime.equals("crun") ? crun(found, version.contains("+CRIU")) : Finding.pass(runtime, found));
        }
        if (Machine.program("podman").isPresent()) {
            boolean set = Machine.text("/etc/criu/runc.conf").orElse("").contains("libdir");
            findings.add(Finding.of(
                    WARN,
                    set,
                    "podman settings",
                    set ? "/etc/criu/runc.conf names a plugin folder" : "no plugin folder in /etc/criu/runc.conf",
                    "'libdir FOLDER' there, as Podman passes no environment on to criu",
                    "write it with 'rekindle setup podman'"));
            boolean settled = new PodmanInit(Path.of("/")).isSettled();
            findings.add(Finding.of(
                    WARN,
                    settled,
                    "podman --init",
                    settled
                            ? "its program can be mounted by criu"
                            : "its program is a symbolic link, so a container with --init cannot be restored",
                    "init_path in containers.conf, with the program itself",
                    "write it with 'rekindle setup podman'"));
        }
    }
}
