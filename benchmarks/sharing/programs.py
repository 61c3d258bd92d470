# SPDX-License-Identifier: MIT
"""Processes that share device memory: programs.py KIND FOLDER GIBIBYTES [RANK]. Without a rank it starts all and waits.

KIND ranks: two NCCL ranks, one for each GPU, that reduce together all the time. KIND tensors: a process hands tensors to
four others, which read what it writes. KIND exports: two processes, of one GPU or two, with memory that neither has shared.
KIND hostmem: a process with memory of the host that the driver has made on NUMA node 0, which GPU and processor write by
turns. KIND hostpair: two of them, each of which reads the other one's. These two need no PyTorch.
Each writes FOLDER/rank-N.json now and then: its steps, and what its memory sums to.
Where FOLDER/again comes they share anew, once: ranks make a new communicator, tensors hands out one that it has had from the
beginning, and the two of exports hand each other descriptors of theirs. They go on with that.
"""
import array
import ctypes
import json
import os
import socket
import random
import subprocess
import sys
import time
import zlib
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
    tensors, late = queue.get(), None
    step = 0
    while True:
        step += 1
        total = sum(int(tensor[1:].sum()) for tensor in tensors)
        if late is None and (folder / "again").exists():
            late = queue.get()
        publish(folder, rank, steps=step, sum=total, seen=int(tensors[0][0]),
                late=None if late is None else [int(late[0]), int(late[1:].sum())])
        turn.wait(0.01)


def hand_out_tensors(folder, gibibytes):
    import torch
    import torch.multiprocessing as multiprocessing

    context = multiprocessing.get_context("spawn")
    torch.cuda.set_device(0)
    generator = torch.Generator("cuda").manual_seed(7)
    tensors = [torch.randint(-2**40, 2**40, (1 << 27,), dtype=torch.int64, device="cuda", generator=generator)
               for _ in range(gibibytes)]
    hidden = torch.randint(-2**40, 2**40, (1 << 27,), dtype=torch.int64, device="cuda", generator=generator)
    queue, turn, shared = context.Queue(), context.Event(), False
    readers = [context.Process(target=read_tensors, args=(folder, rank, queue, turn), daemon=True)
               for rank in range(1, READERS + 1)]
    for reader in readers:
        reader.start()
    for _ in readers:
        queue.put(tensors)
    step = 0
    while all(reader.is_alive() for reader in readers):
        step += 1
        tensors[0][0] = hidden[0] = step
        torch.cuda.synchronize()
        if not shared and (folder / "again").exists():
            for _ in readers:
                queue.put(hidden)
            shared = True
        publish(folder, 0, steps=step, sum=sum(int(tensor[1:].sum()) for tensor in tensors), seen=step,
                late=[step, int(hidden[1:].sum())] if shared else None)
        time.sleep(0.01)
    sys.exit("a reader has ended")


class Location(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("id", ctypes.c_int)]


class Properties(ctypes.Structure):  # CUmemAllocationProp
    _fields_ = [("type", ctypes.c_int), ("handles", ctypes.c_int), ("location", Location), ("windows", ctypes.c_void_p),
                ("flags", ctypes.c_ubyte * 8)]


class Access(ctypes.Structure):  # CUmemAccessDesc
    _fields_ = [("location", Location), ("flags", ctypes.c_int)]


DEVICE, HOST_NUMA = 1, 3  # CU_MEM_LOCATION_TYPE


class Memory:
    """A piece of cuMemCreate's, or one that came by a descriptor, mapped for all GPUs there are; of the host's, for the processor too."""
    driver = None

    def call(self, name, *arguments):
        result = getattr(Memory.driver, name)(*arguments)
        if result:
            raise RuntimeError(f"{name}: {result}")

    def __init__(self, device, devices, descriptor=None, on_host=False, count=1 << 30):
        Memory.driver = Memory.driver or ctypes.CDLL("libcuda.so.1")
        self.BYTES = count
        self.handle, self.address = ctypes.c_ulonglong(), ctypes.c_ulonglong()
        if descriptor is None:
            properties = Properties(type=1, handles=1, location=Location(HOST_NUMA, 0) if on_host else Location(DEVICE, device))
            self.call("cuMemCreate", ctypes.byref(self.handle), ctypes.c_size_t(self.BYTES), ctypes.byref(properties),
                      ctypes.c_ulonglong(0))
        else:
            self.call("cuMemImportFromShareableHandle", ctypes.byref(self.handle), ctypes.c_void_p(descriptor), 1)
            os.close(descriptor)
        self.call("cuMemAddressReserve", ctypes.byref(self.address), ctypes.c_size_t(self.BYTES), ctypes.c_size_t(0),
                  ctypes.c_ulonglong(0), ctypes.c_ulonglong(0))
        self.call("cuMemMap", self.address, ctypes.c_size_t(self.BYTES), ctypes.c_size_t(0), self.handle,
                  ctypes.c_ulonglong(0))
        places = [Location(DEVICE, number) for number in range(devices)] + on_host * [Location(HOST_NUMA, 0)]
        access = (Access * len(places))(*(Access(place, 3) for place in places))
        self.call("cuMemSetAccess", self.address, ctypes.c_size_t(self.BYTES), access, ctypes.c_size_t(len(places)))

    def export(self):
        descriptor = ctypes.c_int(-1)
        self.call("cuMemExportToShareableHandle", ctypes.byref(descriptor), self.handle, 1, ctypes.c_ulonglong(0))
        return descriptor.value

    def write(self, number):
        self.call("cuMemsetD32_v2", self.address, ctypes.c_uint(number), ctypes.c_size_t(1))
        self.call("cuCtxSynchronize")

    def fill(self, number):
        self.call("cuMemsetD32_v2", self.address, ctypes.c_uint(number), ctypes.c_size_t(self.BYTES // 4))
        self.call("cuCtxSynchronize")

    def read(self, index):
        number = ctypes.c_uint()
        self.call("cuMemcpyDtoH_v2", ctypes.byref(number), ctypes.c_ulonglong(self.address.value + 4 * index),
                  ctypes.c_size_t(4))
        return number.value


    # Of the host's, past the GPU.
    def write_here(self, number):
        ctypes.c_uint.from_address(self.address.value).value = number

    def read_here(self, index):
        return ctypes.c_uint.from_address(self.address.value + 4 * index).value

    def sum_here(self):
        """Of all but the first page."""
        return zlib.crc32((ctypes.c_char * (self.BYTES - 4096)).from_address(self.address.value + 4096))


def swap_descriptors(folder, rank, descriptor, name="socket"):
    """Rank 1 listens, rank 0 comes to it; each sends its own."""
    path = str(folder / name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as here:
        if rank:
            here.bind(path)
            here.listen()
            peer = here.accept()[0]
        else:
            while here.connect_ex(path):
                time.sleep(0.01)
            peer = here.dup()
    with peer:
        peer.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))])
        data = peer.recvmsg(1, socket.CMSG_SPACE(4))[1][0][2]
    os.close(descriptor)
    return array.array("i", data[:4])[0]


def share_late(folder, rank):
    import torch

    devices = min(torch.cuda.device_count(), 2)
    device = rank % devices
    torch.cuda.set_device(device)
    torch.zeros(1, device="cuda")
    own, theirs, step = Memory(device, devices), None, 0
    last = own.BYTES // 4 - 1
    own.fill(1000 + rank)
    while True:
        step += 1
        own.write(step)
        if theirs is None and (folder / "again").exists():
            theirs = Memory(device, devices, swap_descriptors(folder, rank, own.export()))
        if own.read(last) != 1000 + rank or (theirs and theirs.read(last) != 1001 - rank):
            sys.exit(f"rank {rank}: {own.read(last)} {theirs and theirs.read(last)}")
        publish(folder, rank, steps=step, sum=own.read(last), seen=theirs.read(0) if theirs else None,
                late=bool(theirs))
        time.sleep(0.005)


def start_driver(rank):
    """A context, on one GPU each where there are two. The number of GPUs."""
    driver = Memory.driver = ctypes.CDLL("libcuda.so.1")
    count, context = ctypes.c_int(), ctypes.c_void_p()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        sys.exit("there is no GPU")
    devices = min(count.value, 2)
    if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), rank % devices) or driver.cuCtxSetCurrent(context):
        sys.exit("there is no context")
    return devices


HOST_BYTES = 64 << 20


def host_memory(rank, devices, descriptor=None):
    memory = Memory(rank % devices, devices, descriptor, on_host=True, count=HOST_BYTES)
    if descriptor is None:
        contents = random.Random(rank).randbytes(HOST_BYTES)
        ctypes.memmove(memory.address.value, contents, HOST_BYTES)
    return memory


def hold_host_memory(folder, rank, is_pair):
    devices = start_driver(rank)
    small = Memory(rank % devices, devices, on_host=True, count=2 << 20)
    small.fill(77 + rank)
    own, hidden = host_memory(rank, devices), host_memory(rank + 10, devices)
    of_device = Memory(rank % devices, devices, count=HOST_BYTES)
    of_device.fill(1000 + rank)
    theirs = late = None
    last, step = of_device.BYTES // 4 - 1, 0
    sums = [memory.sum_here() for memory in (own, hidden)]
    if is_pair:
        theirs = host_memory(rank, devices, swap_descriptors(folder, rank, own.export()))
        sums.append(theirs.sum_here())
    while True:
        step += 1
        # One writes, and the other one reads.
        (own.write if step % 2 else own.write_here)(step)
        hidden.write_here(step)
        if (own.read_here if step % 2 else own.read)(0) != step:
            sys.exit(f"rank {rank}: step {step} is not what the other one reads")
        if is_pair and late is None and (folder / "again").exists():
            late = host_memory(rank, devices, swap_descriptors(folder, rank, hidden.export(), "late"))
        now = [memory.sum_here() for memory in ((own, hidden, theirs) if is_pair else (own, hidden))]
        if now != sums or of_device.read(last) != 1000 + rank or small.read(last % (1 << 18)) != 77 + rank:
            sys.exit(f"rank {rank}: {now} {sums} {of_device.read(last)}")
        if theirs:
            seen = min(theirs.read(0), theirs.read_here(0))
            if late:
                seen = min(seen, late.read(0), late.read_here(0))
        publish(folder, rank, steps=step, sum=now, seen=seen if theirs else step, late=bool(late))
        time.sleep(0.005)


def main():
    kind, folder, gibibytes = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if kind == "tensors":
        hand_out_tensors(folder, gibibytes)
    if len(sys.argv) > 4 and kind in ("hostmem", "hostpair"):
        hold_host_memory(folder, int(sys.argv[4]), kind == "hostpair")
    if len(sys.argv) > 4 and kind == "exports":
        share_late(folder, int(sys.argv[4]))
    if len(sys.argv) > 4:
        reduce_together(folder, int(sys.argv[4]), gibibytes)
    ranks = [subprocess.Popen([sys.executable, __file__, kind, folder, str(gibibytes), str(rank)])
             for rank in range(1 if kind == "hostmem" else 2)]
    sys.exit(max(rank.wait() for rank in ranks))


if __name__ == "__main__":
    main()
