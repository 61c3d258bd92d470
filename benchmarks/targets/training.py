# SPDX-License-Identifier: MIT
"""PyTorch training with DataLoader workers that are forked, Adam and autocast.

It trains the same model from the same start on the same data, round after round; a round's digest is over all losses, the
weights and the state of the optimizer at its end, and has to be that of the first round. Two workers were forked at the
start, two are forked in each round, and each step takes a batch from both pairs: a dump meets workers that it restored
before and others that were forked since. --simulated: the same without PyTorch, on the simulated driver; its workers hand
over what they made as PyTorch's do, as descriptors of files in shared memory.
"""
import argparse
import mmap
import multiprocessing
import os
import struct
import zlib

from report import Report

WIDTH, LAYERS, BATCH, STEPS = 4096, 8, 32, 40


def train(report, layers):
    import torch
    from torch import nn
    from torch.nn import functional
    from torch.utils.data import DataLoader, Dataset

    from digests import digest_of

    class Numbers(Dataset):
        def __init__(self, seed):
            self.seed = seed

        def __len__(self):
            return BATCH * STEPS

        def __getitem__(self, index):
            generator = torch.Generator().manual_seed(self.seed + index)
            return torch.randn(WIDTH, generator=generator), torch.randn(WIDTH, generator=generator)

    def loader(seed, persistent):
        return DataLoader(Numbers(seed), batch_size=BATCH, num_workers=2, persistent_workers=persistent,
                          multiprocessing_context="fork")

    torch.use_deterministic_algorithms(True)
    torch.manual_seed(1)
    with torch.device("cuda"):
        model = nn.Sequential(*(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU())
                                for _ in range(layers)))
    first = [parameter.detach().clone() for parameter in model.parameters()]
    since_start = loader(1, True)
    while True:
        wanted, losses = report.wanted(), []
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), first):
                parameter.copy_(value)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
        for (inputs, targets), (more_inputs, more_targets) in zip(since_start, loader(1000000, False)):
            inputs = torch.cat([inputs, more_inputs]).cuda()
            targets = torch.cat([targets, more_targets]).cuda()
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cuda", dtype=torch.bfloat16):
                loss = functional.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            report.step()
        held = [*model.parameters(), *first]
        for state in optimizer.state.values():
            held += [state["exp_avg"], state["exp_avg_sq"]]
        report.say(f"loss {losses[0]:.4f} to {losses[-1]:.4f}")
        report.check(digest_of(held, zlib.crc32(struct.pack(f"<{len(losses)}d", *losses))), wanted)


# ---- without PyTorch ----

def produce(seed, numbers, batches):
    """A worker: has inherited the device, and does not use it."""
    from multiprocessing.reduction import DupFd

    own = bytes([seed % 251]) * (4 << 20)
    for number in iter(numbers.get, None):
        path = f"/dev/shm/rekindle-batch-{os.getpid()}-{seed}-{number}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(path)
        os.write(descriptor, struct.pack("<Q", zlib.crc32(own, seed + number)) * 512)
        batches.put((number, DupFd(descriptor)))
        os.close(descriptor)


class Workers:
    """Two forked processes that make batches, as a DataLoader has them."""

    def __init__(self, seed):
        context = multiprocessing.get_context("fork")
        self.numbers, self.batches = context.Queue(), context.Queue()
        self.processes = [context.Process(target=produce, args=(seed, self.numbers, self.batches), daemon=True)
                          for _ in range(2)]
        for process in self.processes:
            process.start()

    def ask(self, numbers):
        for number in numbers:
            self.numbers.put(number)

    def results(self, count):
        found = {}
        for _ in range(count):
            number, shared = self.batches.get()
            descriptor = shared.detach()
            with mmap.mmap(descriptor, 4096) as batch:
                found[number] = struct.unpack_from("<Q", batch, 4088)[0]
            os.close(descriptor)
        return [found[number] for number in sorted(found)]

    def end(self):
        self.ask([None] * len(self.processes))
        for process in self.processes:
            process.join()


def train_simulated(report):
    import ctypes
    import time

    from device import Contents, Device

    device = Device()
    contents = Contents(device, [(5 << 20) + 4096] * 6)
    weights = device.allocate(3 << 20)
    words = (ctypes.c_uint32 * 1024)()
    since_start = Workers(1)
    while True:
        wanted, digest = report.wanted(), 0
        for index in range(len(words)):
            words[index] = index
        device.write(weights, ctypes.addressof(words), ctypes.sizeof(words))
        of_this_round = Workers(1000000)
        for step in range(STEPS):
            for workers in (since_start, of_this_round):
                workers.ask(range(2 * step, 2 * step + 2))
            batches = since_start.results(2) + of_this_round.results(2)
            device.read(weights, ctypes.addressof(words), ctypes.sizeof(words))
            for batch in batches:
                words[batch % len(words)] ^= batch
            digest = zlib.crc32(bytes(words), digest)
            device.write(weights, ctypes.addressof(words), ctypes.sizeof(words))
            report.step()
            time.sleep(0.005)
        of_this_round.end()
        report.check(digest + contents.digest(), wanted)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", required=True)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--simulated", action="store_true")
    arguments = parser.parse_args()
    report = Report(arguments.state, create=True)
    if arguments.simulated:
        train_simulated(report)
    else:
        train(report, arguments.layers)


if __name__ == "__main__":
    main()
