# SPDX-License-Identifier: MIT
"""Processes that share device memory: programs.py KIND FOLDER GIBIBYTES [RANK]. Without a rank it starts all and waits.

KIND ranks: two NCCL ranks, one for each GPU, that reduce together all the time. KIND tensors: a process hands tensors to
four others, which read what it writes. Each writes FOLDER/rank-N.json now and then: its steps, and what its memory sums to.
A rank of NCCL that finds FOLDER/again makes a new communicator, once, and goes on with that.
"""
import json
import os
import subprocess
import sys
import time
from pathlib import Path

READERS = 4


def publish(folder, rank, **what):
    (folder / f".rank-{rank}").write_text(json.dumps(what))
    os.rename(folder / f".rank-{rank}", folder / f"rank-{rank}.json")


def reduce_together(folder, rank, gibibytes):
    import torch
    import torch.distributed as dist

    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    generator = torch.Generator("cuda").manual_seed(rank + 1)
    weights = [torch.randint(-2**62, 2**62, (1 << 27,), dtype=torch.int64, device="cuda", generator=generator)
               for _ in range(gibibytes)]
    large = torch.ones(1 << 26, device="cuda")  # 256 MiB, for the bandwidth
    step, group, groups, bandwidth = 0, None, 1, 0.0
    while True:
        step += 1
        gradient = torch.full((1 << 22,), float(step % 1000 + rank), device="cuda")
        dist.all_reduce(gradient, group=group)
        if gradient[-1].item() != 2 * (step % 1000) + 1:
            sys.exit(f"rank {rank}: step {step} reduced to {gradient[-1].item()}")
        # Both see the file at the same step, as they tell each other.
        wanted = torch.tensor([int((folder / "again").exists() and groups == 1)], device="cuda")
        dist.all_reduce(wanted, op=dist.ReduceOp.MIN, group=group)
        if wanted.item():
            group, groups = dist.new_group([0, 1]), groups + 1
        if step % 20 == 0:
            torch.cuda.synchronize()
            began = time.monotonic()
            for _ in range(4):
                dist.all_reduce(large, op=dist.ReduceOp.MAX, group=group)
            torch.cuda.synchronize()
            bandwidth = 4 * large.numel() * 4 / (time.monotonic() - began) / 1e9
            publish(folder, rank, steps=step, sum=sum(int(part.sum()) for part in weights), groups=groups,
                    bandwidth=round(bandwidth, 1))


def read_tensors(folder, rank, queue, turn):
    import torch

    torch.cuda.set_device(0)
    tensors = queue.get()
    step = 0
    while True:
        step += 1
        total = sum(int(tensor[1:].sum()) for tensor in tensors)
        publish(folder, rank, steps=step, sum=total, seen=int(tensors[0][0]))
        turn.wait(0.01)


def hand_out_tensors(folder, gibibytes):
    import torch
    import torch.multiprocessing as multiprocessing

    context = multiprocessing.get_context("spawn")
    torch.cuda.set_device(0)
    generator = torch.Generator("cuda").manual_seed(7)
    tensors = [torch.randint(-2**40, 2**40, (1 << 27,), dtype=torch.int64, device="cuda", generator=generator)
               for _ in range(gibibytes)]
    queue, turn = context.Queue(), context.Event()
    readers = [context.Process(target=read_tensors, args=(folder, rank, queue, turn), daemon=True)
               for rank in range(1, READERS + 1)]
    for reader in readers:
        reader.start()
    for _ in readers:
        queue.put(tensors)
    step = 0
    while all(reader.is_alive() for reader in readers):
        step += 1
        tensors[0][0] = step
        torch.cuda.synchronize()
        publish(folder, 0, steps=step, sum=sum(int(tensor[1:].sum()) for tensor in tensors), seen=step)
        time.sleep(0.01)
    sys.exit("a reader has ended")


def main():
    kind, folder, gibibytes = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if kind == "tensors":
        hand_out_tensors(folder, gibibytes)
    if len(sys.argv) > 4:
        reduce_together(folder, int(sys.argv[4]), gibibytes)
    ranks = [subprocess.Popen([sys.executable, __file__, kind, folder, str(gibibytes), str(rank)]) for rank in range(2)]
    sys.exit(max(rank.wait() for rank in ranks))


if __name__ == "__main__":
    main()
