# SPDX-License-Identifier: MIT
"""Two NCCL ranks, each on a GPU of its own, over shared host memory: busy all the time, or idle until they are asked.

The process that is started only starts the ranks and waits; rank 0 reports to the state file, rank 1 to STATE.1. Each step
checks what was reduced, each check is a digest of all of a rank's weights. --store tcp: they meet by PyTorch's own store,
whose libuv makes an io_uring where it can, else by a file. --simulated: the same without PyTorch and NCCL, on the simulated
driver: what is reduced goes through a TCP connection, and each rank makes an io_uring by itself with --store tcp.
"""
import argparse
import ctypes
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from report import Report

PORT, CHECK_EVERY = 29500, 50


class Rank:
    def __init__(self, arguments, folder):
        import torch
        import torch.distributed as dist

        from digests import digest_of

        self.torch, self.dist, self.digest_of, self.number = torch, dist, digest_of, arguments.rank
        torch.cuda.set_device(self.number)
        method = f"tcp://127.0.0.1:{PORT}" if arguments.store == "tcp" else f"file://{folder}/store"
        dist.init_process_group("nccl", init_method=method, rank=self.number, world_size=arguments.ranks)
        generator = torch.Generator("cuda").manual_seed(self.number + 1)
        self.weights = torch.randint(-2**30, 2**30, (1 << 28,), dtype=torch.int32, device="cuda", generator=generator)

    def reduce(self, value):
        gradient = self.torch.full((1 << 22,), float(value), device="cuda")
        for _ in range(4):
            gradient = self.torch.tanh(gradient) * 0 + value
        self.dist.all_reduce(gradient)
        return gradient[-1].item()

    def digest(self):
        return self.digest_of([self.weights])


class SimulatedRank:
    def __init__(self, arguments, folder):
        from device import Contents, Device

        if arguments.store == "tcp":
            self.ring = ctypes.CDLL(None).syscall(425, 4, ctypes.create_string_buffer(120))  # io_uring_setup
        device = Device()
        self.contents = Contents(device, [(7 << 20) + 512] * 3, seed=arguments.rank + 1)
        if arguments.rank == 0:
            with socket.create_server(("127.0.0.1", PORT)) as listening:
                self.other, _ = listening.accept()
            return
        while True:
            try:
                self.other = socket.create_connection(("127.0.0.1", PORT))
                return
            except ConnectionRefusedError:
                time.sleep(0.01)

    def reduce(self, value):
        self.contents.is_right(0)
        self.other.sendall(struct.pack("<d", value))
        time.sleep(0.001)
        return value + struct.unpack("<d", self.other.recv(8, socket.MSG_WAITALL))[0]

    def digest(self):
        return self.contents.digest()


def work(arguments):
    state = Path(arguments.state)
    report = Report(f"{state}.{arguments.rank}" if arguments.rank else state, create=True)
    rank = (SimulatedRank if arguments.simulated else Rank)(arguments, state.parent)
    number = 0
    while True:
        while arguments.idle and number and not report.is_asked():
            time.sleep(0.0005)
        number += 1
        value = number % 1000
        found, right = rank.reduce(value + arguments.rank), sum(value + other for other in range(arguments.ranks))
        if found != right:
            report.fail(f"rank {arguments.rank}: step {number} reduced to {found} instead of {right}")
        wanted = report.wanted()
        report.step()
        if arguments.idle or number % CHECK_EVERY == 0:
            report.check(rank.digest(), wanted)


def start(arguments):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "ranks"))
    from nccl_rank import ENVIRONMENT

    environment = {**os.environ, **ENVIRONMENT, "USE_LIBUV": "1" if arguments.store == "tcp" else "0"}
    for rank in range(arguments.ranks):
        subprocess.Popen([sys.executable, *sys.argv, "--rank", str(rank)], env=environment)
    os.wait()  # for whichever ends first: none is meant to
    return 1


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", required=True)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rank", type=int)
    parser.add_argument("--idle", action="store_true")
    parser.add_argument("--store", choices=("file", "tcp"), default="file")
    parser.add_argument("--simulated", action="store_true")
    arguments = parser.parse_args()
    if arguments.rank is None:
        sys.exit(start(arguments))
    work(arguments)


if __name__ == "__main__":
    main()
