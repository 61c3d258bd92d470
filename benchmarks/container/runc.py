# SPDX-License-Identifier: MIT
"""Containers of runc's on a machine without images and engines: the root is the machine's own, read-only.

What an engine would set up is made here, in the mount namespace that `run` has made: criu's configuration as `rekindle
setup podman` writes it, a hierarchy of control groups where the machine's own does not do, and runc's library.
"""
import ctypes
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = Path("/program")  # in the container: what bench.py starts
DATA = Path("/data")  # in the container: the one folder that it shares with the outside, and may write to
CONFIGURATION = Path("/etc/criu")
GROUPS = Path("/sys/fs/cgroup")
MS_BIND, MNT_DETACH = 0x1000, 2

# As Podman has them.
CAPABILITIES = ["CAP_" + name for name in (
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID",
    "SYS_CHROOT")]
MASKED = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
          "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/fs/selinux", "/sys/dev/block"]
READ_ONLY = ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
OF_SYSTEM = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "opt"]


class Failed(RuntimeError):
    pass


def mount(source, target, kind=None, flags=0, data=None):
    libc = ctypes.CDLL(None, use_errno=True)
    encoded = [str(text).encode() if text is not None else None for text in (source, target, kind)]
    if libc.mount(*encoded, ctypes.c_ulong(flags), str(data).encode() if data else None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(target))


def run(command, environment, limit, log):
    """Ends what it starts in time; raises with what runc has said in its log."""
    log.unlink(missing_ok=True)
    child = subprocess.Popen([str(word) for word in command], env=environment, stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        status = child.wait(limit)
    except subprocess.TimeoutExpired:
        status = f"no end within {limit} s"
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if status:
        raise Failed(f"{' '.join(map(str, command[:1]))} ... {command[-1]}: {status}; {said(log)}")


def said(log):
    return " ".join(log.read_text(errors="replace").split("\n")[-5:]).strip() if log.exists() else "it has written no log"


def mounts_below(folder):
    """Of the machine, in the order in which they were made."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = Path(line.split()[4].replace("\\040", " "))
        if folder in point.parents and point not in found and point.exists():
            found.append(point)
    return found


def device_nodes():
    for path in sorted([*Path("/dev").glob("nvidia*"), *Path("/dev").glob("nvidia-caps/*")]):
        status = path.stat()
        if stat.S_ISCHR(status.st_mode):
            yield dict(path=str(path), type="c", major=os.major(status.st_rdev), minor=os.minor(status.st_rdev),
                       fileMode=stat.S_IMODE(status.st_mode), uid=status.st_uid, gid=status.st_gid)


class Runc:
    """runc, where it is, and where it keeps what it knows of its containers."""

    def __init__(self, program, work):
        self.program, self.work = program, Path(work)
        self.state = self.work / "runc"
        self.log = self.work / "runc.log"
        self.made_configuration = False

    def prepare(self, library):
        """library: a folder with what runc needs, should the machine lack it."""
        self.made_configuration = not CONFIGURATION.exists()
        if self.made_configuration:
            CONFIGURATION.mkdir()
        mount("tmpfs", CONFIGURATION, "tmpfs", 0, "size=1m,mode=755")
        if library and not self.starts():
            self.add_library(library)
        if not self.starts():
            raise Failed(f"{self.program} does not start")
        self.version = subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout.split()[2]

    def starts(self):
        return subprocess.run([self.program, "--version"], capture_output=True).returncode == 0

    def add_library(self, folder):
        """For runc and for the copy of itself that it makes in memory, which no path relative to the program reaches."""
        cache = self.work / "ld.so.cache"
        subprocess.run(["ldconfig", "-X", "-C", cache, folder], check=True, stderr=subprocess.DEVNULL)
        mount(cache, "/etc/ld.so.cache", flags=MS_BIND)

    def command(self, *words):
        return [self.program, "--root", self.state, "--log", self.log, *words]

    def configure_criu(self, side):
        """As `rekindle setup podman` does. Stock criu gets the same, with its own plugin."""
        (CONFIGURATION / "default.conf").write_text(f"libdir {side.plugin}\n")
        lines = [f"libdir {side.plugin}", "link-remap", "external mnt[]"]
        options = list(side.options)
        while options:
            name = options.pop(0).removeprefix("--")
            lines.append(f"{name} {options.pop(0)}" if options and not options[0].startswith("--") else name)
        (CONFIGURATION / "runc.conf").write_text("\n".join(lines) + "\n")

    # ---- control groups ----

    def find_control_groups(self, environment, wanted, say):
        """The first hierarchy in which a container starts: the machine's own, else version 2, else version 1."""
        ways = {"own": lambda: None, "v2": self.version_two, "v1": self.version_one}
        for name, way in ways.items():
            if wanted not in ("auto", name):
                continue
            try:
                way()
                container = Container(self, "rekindle-trial", self.work / "trial", environment, ["/bin/true"])
                container.write_configuration(["/bin/true"], {})
                run(self.command("run", "--bundle", container.folder, container.name), environment, 30, self.log)
                self.groups = name
                return
            except (OSError, Failed) as error:
                say(f"# control groups {name}: {error}")
            finally:
                shutil.rmtree(self.work / "trial", ignore_errors=True)
        raise Failed("runc starts no container here")

    @staticmethod
    def take_away_groups():
        """runc would find those that lie under others, too."""
        libc = ctypes.CDLL(None)
        for point in reversed([GROUPS, *mounts_below(GROUPS)]):
            while libc.umount2(str(point).encode(), MNT_DETACH) == 0:
                pass

    def version_two(self):
        self.take_away_groups()
        mount("cgroup2", GROUPS, "cgroup2")

    def version_one(self):
        self.take_away_groups()
        mount("tmpfs", GROUPS, "tmpfs", 0, "mode=755")
        for name in ("devices", "freezer", "pids", "memory", "cpu", "cpuacct", "cpuset"):
            folder = GROUPS / name
            folder.mkdir()
            try:
                mount("cgroup", folder, "cgroup", 0, name)
            except OSError:
                folder.rmdir()

    def end(self):
        libc = ctypes.CDLL(None)
        libc.umount2(str(CONFIGURATION).encode(), MNT_DETACH)
        if self.made_configuration:
            CONFIGURATION.rmdir()


class Container:
    """One container; its files are in the folder."""

    def __init__(self, runc, name, folder, environment, binaries):
        self.runc, self.name, self.folder, self.environment = runc, name, Path(folder), environment
        self.data, self.program, self.root = self.folder / "data", self.folder / "program", self.folder / "rootfs"
        for path in (self.data, self.program, self.root):
            path.mkdir(parents=True)
        for file in binaries:
            shutil.copy(file, self.program)
        self.pid = None

    # ---- what the container is ----

    def host_mounts(self):
        """The parts of the machine's root that programs need, made in the container's root where they are links."""
        names = dict.fromkeys(OF_SYSTEM)
        for path in (sys.executable, os.path.realpath(sys.executable), sys.prefix, sys.base_prefix):
            names[Path(path).parts[1]] = None
        wanted = []
        for name in names:
            path, inside = Path("/") / name, self.root / name
            if path.is_symlink():
                if not inside.is_symlink():
                    inside.symlink_to(os.readlink(path))
            elif path.is_dir():
                wanted.append(path)
                if name != "etc":
                    wanted += mounts_below(path)
        return wanted

    def write_configuration(self, arguments, settings):
        bind = ["bind", "ro", "nosuid", "nodev"]
        mounts = [
            dict(destination="/proc", type="proc", source="proc", options=["nosuid", "noexec", "nodev"]),
            dict(destination="/dev", type="tmpfs", source="tmpfs",
                 options=["nosuid", "strictatime", "mode=755", "size=65536k"]),
            dict(destination="/dev/pts", type="devpts", source="devpts",
                 options=["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            dict(destination="/dev/shm", type="tmpfs", source="shm", options=["nosuid", "noexec", "nodev", "mode=1777"]),
            dict(destination="/dev/mqueue", type="mqueue", source="mqueue", options=["nosuid", "noexec", "nodev"]),
            dict(destination="/sys", type="sysfs", source="sysfs", options=["nosuid", "noexec", "nodev", "ro"]),
            dict(destination="/tmp", type="tmpfs", source="tmpfs", options=["nosuid", "nodev", "mode=1777"]),
            *(dict(destination=str(path), type="bind", source=str(path), options=bind) for path in self.host_mounts()),
            dict(destination=str(PROGRAM), type="bind", source=str(self.program), options=bind),
            dict(destination=str(DATA), type="bind", source=str(self.data), options=["bind", "rw", "nosuid", "nodev"])]
        environment = {**os.environ, "HOME": "/tmp", **settings}
        sets = ("bounding", "effective", "permitted")
        configuration = dict(
            ociVersion="1.0.2", hostname="rekindle", root=dict(path="rootfs", readonly=True), mounts=mounts,
            process=dict(terminal=False, user=dict(uid=0, gid=0), cwd="/tmp", args=[str(word) for word in arguments],
                         env=[f"{name}={value}" for name, value in environment.items()],
                         capabilities={name: CAPABILITIES for name in sets}),
            linux=dict(
                cgroupsPath=f"/{self.name}",
                namespaces=[dict(type=kind) for kind in ("pid", "mount", "uts", "ipc")],
                devices=list(device_nodes()),
                resources=dict(devices=[dict(allow=True, access="rwm")]),
                maskedPaths=MASKED, readonlyPaths=READ_ONLY))
        (self.folder / "config.json").write_text(json.dumps(configuration, indent=1))

    # ---- what is done with it ----

    def do(self, limit, *words):
        run(self.runc.command(*words, self.name), self.environment, limit, self.runc.log)

    def start(self, arguments, settings):
        """The standard streams are /dev/null, as a file of the machine's could not come along in a checkpoint."""
        shell = ["/bin/sh", "-c", f'exec "$@" >>{DATA}/program.log 2>&1', "sh"]
        self.write_configuration([*shell, *arguments], settings)
        self.do(60, "run", "--detach", "--bundle", self.folder, "--pid-file", self.folder / "pid")
        self.read_pid()

    def read_pid(self):
        self.pid = int((self.folder / "pid").read_text())

    def checkpoint(self, images, limit, options):
        self.do(limit, "checkpoint", "--image-path", images, "--work-path", images, *options)
        self.reap()

    def restore_command(self, images, options):
        (self.folder / "pid").unlink(missing_ok=True)
        return self.runc.command("restore", "--detach", "--bundle", self.folder, "--image-path", images, "--work-path",
                                 images, "--pid-file", self.folder / "pid", *options, self.name)

    def end(self):
        """Whatever state it is in."""
        if (self.runc.state / self.name).exists():
            try:
                self.do(30, "delete", "--force")
            except Failed:
                if self.pid:
                    os.kill(self.pid, signal.SIGKILL)
        self.reap()

    def reap(self):
        """Its first process is a child of ours: see collect_orphans in bench.py."""
        pid, self.pid = self.pid, None
        end = time.monotonic() + 60
        while pid:
            try:
                if os.waitpid(pid, os.WNOHANG)[0]:
                    break
            except ChildProcessError:
                break
            if time.monotonic() > end:
                raise Failed(f"process {pid} of the container does not end")
            time.sleep(0.001)
