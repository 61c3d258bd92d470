# SPDX-License-Identifier: MIT
"""The target programs as case.py starts them, sees them work and asks them whether they are what they were."""
import http.client
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "h200"))
from bench import GIB, wait_until  # noqa: E402
from report import CHECKS, DIGEST, FAILED, STEPS, Report  # noqa: E402

HERE = Path(__file__).resolve().parent
PORT = 8080


class Failed(RuntimeError):
    """In one sentence, for the line of the case."""


class Program:
    """One that reports to a state file, or several: members counts them.

    title: for people; gib: device memory; gpus: how many it needs; patience: how much longer than others it may take.
    """

    def __init__(self, name, title, file, gib, *options, members=1, gpus=1, agent_environment=None, namespace=False,
                 patience=1):
        self.name, self.title, self.file, self.options = name, title, file, [str(option) for option in options]
        self.device_bytes, self.members, self.gpus = int(gib * GIB), members, gpus
        self.agent_environment, self.patience = agent_environment or {}, patience
        self.namespace = namespace  # starts as the first process of a pid namespace of its own

    def command(self, folder, simulated):
        self.folder = folder
        self.states = [folder / "state", *(folder / f"state.{number}" for number in range(1, self.members))]
        return [sys.executable, str(HERE / self.file), "--state", str(self.states[0]), *self.options,
                *(["--simulated"] if simulated else [])]

    # ---- a program that runs ----

    def check_failed(self):
        for report in self.reports:
            if report.get(FAILED):
                raise Failed(f"{self.name}: {report.text()}")

    def open_reports(self):
        if not hasattr(self, "reports"):
            if not all(state.exists() and state.stat().st_size for state in self.states):
                return False
            self.reports = [Report(state) for state in self.states]
        return True

    def is_ready(self):
        if not self.open_reports():
            return False
        self.check_failed()
        return all(report.get(STEPS) and report.get(CHECKS) for report in self.reports)

    def contents(self, limit):
        """Has all of it checked again, from now on; what it is then."""
        for report in self.reports:
            report.ask()
        self.wait("a check of the contents", lambda: all(report.is_answered() for report in self.reports), limit)
        return [f"{report.get(DIGEST):016x}" for report in self.reports]

    def wait(self, what, condition, limit):
        def holds():
            self.check_failed()
            return condition()
        wait_until(f"{self.name}: {what}", holds, limit)

    def before_dump(self, generation, limit):
        """What it has to do first in this generation."""

    def settle(self, limit):
        """Comes between the check of the contents and the dump, which is to meet it at work."""
        self.progress(limit)

    def before_restore(self):
        self.known_steps = [report.get(STEPS) for report in self.reports]

    def is_back(self, limit):
        """Each process has done some work."""
        self.check_failed()
        return all(report.get(STEPS) != steps for report, steps in zip(self.reports, self.known_steps))

    def progress(self, limit):
        """And it goes on."""
        known = [report.get(STEPS) for report in self.reports]
        self.wait("more steps", lambda: all(report.get(STEPS) > steps + 2 for report, steps in zip(self.reports, known)), limit)

    def note(self):
        return self.reports[0].text()


class Idle(Program):
    """Does nothing until it is asked, and has been asked when it comes back."""

    def before_restore(self):
        super().before_restore()
        for report in self.reports:
            report.ask()

    def settle(self, limit):
        pass

    def progress(self, limit):
        for _ in range(2):
            self.contents(limit)


class Server(Program):
    """Its contents are its answers. Each generation asks for a length that is new."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.lengths = [32]

    def is_ready(self):
        return self.open_reports() and self.reports[0].get(STEPS) > 0

    def ask(self, length, limit, weights=False):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=limit)
        try:
            connection.request("GET", f"/answer?length={length}" + ("&weights=1" if weights else ""))
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise Failed(f"{self.name}: the server answers {response.status}")
        return json.loads(body)

    def contents(self, limit):
        return [self.ask(length, limit, weights=True) for length in self.lengths]

    def before_dump(self, generation, limit):
        self.lengths.append(self.lengths[-1] + 16)
        self.ask(self.lengths[-1], limit)

    def is_back(self, limit):
        try:
            self.ask(self.lengths[-1], limit)
        except ConnectionError:  # nobody listens yet, or not any more
            return False
        return True

    def progress(self, limit):
        self.ask(self.lengths[0], limit)


def programs(simulated, gpus):
    """All of them, small where they are to be run on the simulated driver."""
    count = 64 if simulated else 4000
    small = 0.1 if simulated else None
    ranks = min(2, gpus)
    no_ring = {"REKINDLE_AGENT_IO_URING": "0"}
    # Real CUDA does not start in a pid namespace without a /proc of its own (error 304 on driver 580), and with one the
    # process is a container: ../container has that on a GPU.
    namespace = [Program("namespace", "the same in a pid namespace of its own", "engine.py", small, namespace=True)] if simulated else []
    return [
        Program("training", "PyTorch training: DataLoader workers (fork), Adam, autocast", "training.py", small or 4),
        Server("server", '`torch.compile(mode="reduce-overhead")` behind an HTTP server', "server.py", small or 4,
               "--port", PORT, patience=2),
        Program("ranks-busy", "two NCCL ranks, busy all the time", "collective.py", small or 2, members=2, gpus=2),
        Idle("ranks-idle", "two NCCL ranks over shared host memory, idle", "collective.py", small or 2, "--idle", members=2,
             gpus=2),
        Idle("init", "`dist.init_process_group` by PyTorch's own store (libuv)", "collective.py", small or 1, "--idle",
             "--store", "tcp", "--ranks", ranks, members=ranks, agent_environment=no_ring),
        Program("allocations", f"{count:,} allocations of 2 to 3 MiB", "allocations.py", count / 256, "--count", count),
        Program("allocation", "one allocation as big as those together", "allocations.py", count / 256, "--count", count,
                "--one"),
        Program("engine", "PyTorch engine in a spawned child, queues between", "engine.py", small or 3),
        *namespace,
    ]
