#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Is the committed text of the kernel the hash of chunk_hash.c? kernel_text_test.py LIBRARY, with that function in it.

The text is carried out here, thread by thread, as far as the kernel uses the language: what it computes for a chunk has
to be what the function in C does. And where the clang that made it is there, the source gives that very text."""

import ctypes
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
TEXT = (FOLDER / "hash_kernel.ptx").read_text()
UNIT, THREADS, BLOCKS = 4096, 256, 16
CHUNKS_AT, RESULTS_AT, DATA_AT = 0x1000, 0x2000, 0x100000
MASK = (1 << 64) - 1


class Memory:
    """Two arrays of the host's and the data, at addresses of their own."""

    def __init__(self, chunks, data):
        self.data = data
        self.chunks = b"".join(number.to_bytes(8, "little") for chunk in chunks for number in chunk)
        self.results = [0] * (2 * len(chunks))

    def read(self, address):
        start, text = (DATA_AT, self.data) if address >= DATA_AT else (CHUNKS_AT, self.chunks)
        assert address % 8 == 0 and 0 <= address - start <= len(text) - 8, hex(address)
        return int.from_bytes(text[address - start:address - start + 8], "little")

    def add(self, address, value):
        index = (address - RESULTS_AT) // 8
        self.results[index] = (self.results[index] + value) & MASK


def parse(text):
    """[(predicate, opcode, [operand])] and {label: index}."""
    program, labels = [], {}
    body = text[text.index("\n{\n") + 3:text.rindex("}")]
    for line in body.splitlines():
        line = line.split("//")[0].strip()
        if line in ("", "{", "}") or line.startswith("."):  # scopes of temporaries, and declarations
            continue
        label = re.fullmatch(r"(\$?\w+):", line)
        if label:
            labels[label[1]] = len(program)
            continue
        found = re.fullmatch(r"(?:@(!?%\w+)\s+)?([\w.]+)(?:\s+(.*))?;", line)
        assert found, line
        operands = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+", found[3] or "")
        program.append((found[1], found[2], operands))
    return program, labels


PROGRAM, LABELS = parse(TEXT)


class Thread:
    def __init__(self, block, thread, memory):
        self.registers = {"%ctaid.x": block, "%tid.x": thread}
        self.memory = memory
        self.parameters = [CHUNKS_AT, RESULTS_AT]

    def value(self, operand):
        if operand.startswith("%"):
            return self.registers[operand]
        return int(operand, 0) & MASK

    def address(self, operand):
        base, _, offset = operand.strip("[]").partition("+")
        return (self.value(base) + int(offset or "0", 0)) & MASK

    def load(self, operands):
        names = operands[0].strip("{}").replace(" ", "").split(",")
        for index, name in enumerate(names):
            self.registers[name] = self.memory.read(self.address(operands[1]) + 8 * index)

    def compute(self, opcode, operands):
        name, kind = opcode.split(".")[0], opcode.split(".")[-1]
        bits = int(kind[1:])
        a, *rest = [self.value(operand) & ((1 << bits) - 1) for operand in operands[1:]]
        if name == "mul":
            result = a * rest[0]
            if ".wide." in opcode:
                bits *= 2
            else:
                assert ".lo." in opcode, opcode
        elif name == "mad":
            assert ".lo." in opcode, opcode
            result = a * rest[0] + rest[1]
        elif name == "shl":
            result = a << rest[0] if rest[0] < bits else 0
        elif name == "shr":
            assert kind[0] in "ub", opcode
            result = a >> rest[0]
        else:
            result = {"add": lambda: a + rest[0], "sub": lambda: a - rest[0], "and": lambda: a & rest[0],
                      "or": lambda: a | rest[0], "xor": lambda: a ^ rest[0], "not": lambda: ~a, "mov": lambda: a,
                      "cvt": lambda: a}[name]()
        self.registers[operands[0]] = result & ((1 << bits) - 1)

    def compare(self, opcode, operands):
        _, relation, kind = opcode.split(".")
        assert kind[0] in "ub" or relation in ("eq", "ne"), opcode
        a, b = (self.value(operand) & ((1 << int(kind[1:])) - 1) for operand in operands[1:])
        self.registers[operands[0]] = {"eq": a == b, "ne": a != b, "lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b,
                                       "lo": a < b, "ls": a <= b, "hi": a > b, "hs": a >= b}[relation]

    def run(self):
        at = 0
        while at < len(PROGRAM):
            predicate, opcode, operands = PROGRAM[at]
            at += 1
            if predicate and self.registers[predicate.lstrip("!")] == predicate.startswith("!"):
                continue
            if opcode.startswith("bra"):
                at = LABELS[operands[0]]
            elif opcode == "ret":
                return
            elif opcode.startswith("ld.param"):
                self.registers[operands[0]] = self.parameters[int(operands[1].strip("[]").rsplit("_", 1)[1])]
            elif opcode.startswith("cvta"):
                self.registers[operands[0]] = self.value(operands[1])
            elif opcode.startswith("ld."):
                self.load(operands)
            elif opcode in ("atom.global.add.u64", "atom.add.u64"):
                self.memory.add(self.address(operands[1]), self.value(operands[2]))
            elif opcode in ("red.global.add.u64", "red.add.u64"):
                self.memory.add(self.address(operands[0]), self.value(operands[1]))
            elif opcode.startswith("setp"):
                self.compare(opcode, operands)
            else:
                self.compute(opcode, operands)


def in_c(library, data):
    class Hash(ctypes.Structure):
        _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]
    result = Hash()
    library.chunk_hash_add(ctypes.byref(result), ctypes.c_char_p(data), ctypes.c_size_t(len(data)), ctypes.c_uint64(0))
    return [result.low, result.high]


def compare_results(library):
    # More tiles than there are warps for a chunk, so that some take two; fewer; and contents that are zero.
    source = random.Random(1)
    parts = [source.randbytes(130 * UNIT), source.randbytes(3 * UNIT), bytes(2 * UNIT)]
    data, chunks = b"", []
    for part in parts:
        chunks.append((DATA_AT + len(data), len(part) // UNIT))
        data += part
    memory = Memory(chunks, data)
    for block in range(BLOCKS * len(chunks)):
        for thread in range(THREADS):
            Thread(block, thread, memory).run()
    for number, part in enumerate(parts):
        assert memory.results[2 * number:2 * number + 2] == in_c(library, part), f"the hashes of part {number} differ"


def compare_text():
    version = re.search(r"clang (\d+)", TEXT)[1]
    for name in (f"clang-{version}", "clang"):
        program = shutil.which(name)
        if program and f"version {version}." in subprocess.run([program, "--version"], capture_output=True, text=True).stdout:
            made = subprocess.run([FOLDER / "make_ptx.sh", program], capture_output=True, text=True)
            if "NVPTX" in made.stderr or "nvptx" in made.stderr:
                break  # one without that target
            assert made.returncode == 0, made.stderr
            assert made.stdout == TEXT, "hash_kernel.ptx is not what its source gives: run make_ptx.sh"
            print(f"{program} gives this text")
            return
    print(f"there is no clang {version} to make the text with")


if __name__ == "__main__":
    compare_results(ctypes.CDLL(sys.argv[1]))
    compare_text()
