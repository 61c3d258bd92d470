# SPDX-License-Identifier: MIT
"""Two ranks that reduce together all the time: nccl_rank.py FOLDER [RANK]. Without a rank it starts both and waits.

Each writes FOLDER/rank-N.json now and then: its steps, and the sum over the bits of 1 GiB of weights.
"""
import json
import os
import subprocess
import sys
from pathlib import Path

RANKS = 2
# No device memory of another process, which a dump refuses; no ring of libuv's; only the loopback device.
ENVIRONMENT = {"NCCL_P2P_DISABLE": "1", "NCCL_CUMEM_ENABLE": "0", "NCCL_CUMEM_HOST_ENABLE": "0", "NCCL_IB_DISABLE": "1",
               "NCCL_NVLS_ENABLE": "0", "NCCL_SOCKET_IFNAME": "lo", "USE_LIBUV": "0", "NCCL_NET_PLUGIN": "none",
               "TORCH_NCCL_ENABLE_MONITORING": "0", "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0"}


def work(folder, rank):
    import torch
    import torch.distributed as dist

    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    generator = torch.Generator("cuda").manual_seed(rank + 1)
    weights = torch.randint(-2**62, 2**62, (1 << 27,), dtype=torch.int64, device="cuda", generator=generator)
    step = 0
    while True:
        step += 1
        gradient = torch.full((1 << 22,), float(step % 1000 + rank), device="cuda")
        for _ in range(4):
            gradient = torch.tanh(gradient * 0 + step % 1000 + rank) * 0 + step % 1000 + rank
        dist.all_reduce(gradient)
        if gradient[-1].item() != 2 * (step % 1000) + 1:
            sys.exit(f"rank {rank}: step {step} reduced to {gradient[-1].item()}")
        if step % 20 == 0:
            text = json.dumps(dict(steps=step, sum=int(weights.sum())))
            (folder / f".rank-{rank}").write_text(text)
            os.rename(folder / f".rank-{rank}", folder / f"rank-{rank}.json")


def main():
    folder = Path(sys.argv[1])
    if len(sys.argv) > 2:
        work(folder, int(sys.argv[2]))
    ranks = [subprocess.Popen([sys.executable, __file__, str(folder), str(rank)], env={**os.environ, **ENVIRONMENT})
             for rank in range(RANKS)]
    sys.exit(max(rank.wait() for rank in ranks))


if __name__ == "__main__":
    main()
