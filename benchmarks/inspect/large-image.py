#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""large-image.py FOLDER [GIB] [ENTRIES]: images of one process as CRIU writes them, with so much memory (30) in so many runs
of pages (100000). The pages image is a hole but for the command line, so it takes no room."""
import pathlib
import struct
import sys

PAGE = 4096
PID = 4242
COMMAND = b"python3\0serve.py\0--model\0llama\0"
COMMON, INVENTORY, PSTREE, CORE, MM, PAGEMAP = 0x54564319, 0x58313116, 0x50273030, 0x55053847, 0x57492820, 0x56084025
PRESENT = 4
ANONYMOUS, FILE_PRIVATE = 1 << 9, 1 << 6
RUNS_IN_MAPPING = 50


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def message(*fields):
    """Of (field number, number or bytes)."""
    out = b""
    for field, value in fields:
        if isinstance(value, bytes):
            out += varint(field << 3 | 2) + varint(len(value)) + value
        else:
            out += varint(field << 3) + varint(value)
    return out


def write(path, magics, messages):
    with open(path, "wb") as image:
        image.write(b"".join(struct.pack("<I", magic) for magic in magics))
        for each in messages:
            image.write(struct.pack("<I", len(each)) + each)


def main():
    folder = pathlib.Path(sys.argv[1])
    pages = (int(sys.argv[2]) if len(sys.argv) > 2 else 30) << 18
    entries = int(sys.argv[3]) if len(sys.argv) > 3 else 100000
    folder.mkdir()
    start, each = 0x10000000000, pages // entries
    # A run, and a page that was never touched, in turn.
    runs = [(start + i * (each + 1) * PAGE, each) for i in range(entries)]
    mappings = []
    for i in range(0, entries, RUNS_IN_MAPPING):
        last = min(i + RUNS_IN_MAPPING, entries) - 1
        kind = FILE_PRIVATE if i // RUNS_IN_MAPPING % 10 == 9 else ANONYMOUS
        mappings.append(message((1, runs[i][0]), (2, runs[last][0] + (each + 1) * PAGE), (3, 0), (4, 0), (5, 3), (6, 2),
                                (7, kind), (8, 2**64 - 1)))
    argument = runs[-1][0]
    write(folder / "inventory.img", [INVENTORY], [message((1, 2))])
    write(folder / "pstree.img", [COMMON, PSTREE], [message((1, PID), (2, 0), (3, PID), (4, PID), (5, PID))])
    task = message((1, 1), (2, 0), (3, 0), (4, 0), (5, bytes(8)), (6, b"python3"))
    write(folder / f"core-{PID}.img", [COMMON, CORE], [message((1, 1), (3, task))])
    fields = [(number, 0) for number in range(1, 14)]
    fields[7], fields[8] = (8, argument), (9, argument + len(COMMAND))
    write(folder / f"mm-{PID}.img", [COMMON, MM], [message(*fields, *((14, mapping) for mapping in mappings))])
    write(folder / f"pagemap-{PID}.img", [COMMON, PAGEMAP],
          [message((1, 1))] + [message((1, address), (2, count), (4, PRESENT)) for address, count in runs])
    with open(folder / "pages-1.img", "wb") as image:
        image.truncate(entries * each * PAGE)
        image.seek((entries - 1) * each * PAGE)
        image.write(COMMAND)


main()
