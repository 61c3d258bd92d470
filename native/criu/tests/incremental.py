#!/usr/bin/env python3
"""Makes the images of a folder incremental, as a dump after pre-dumps leaves
them: of all memory three pages stay, the next three go to the
parent, the next three to the parent of that, and so on.

  incremental.py FOLDER [LEVELS]

For kernels that don't track memory, where CRIU can't make such images."""

import glob
import os
import struct
import sys

PAGE = 4096
PARENT, PRESENT = 1, 4  # flags of an entry
VADDR, COMPAT_NR_PAGES, FLAGS, NR_PAGES = 1, 2, 4, 5  # its fields


def varint(buf, at):
    value = shift = 0
    while True:
        byte = buf[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(message):
    at, out = 0, {}
    while at < len(message):
        key, at = varint(message, at)
        assert key & 7 == 0, "not a varint"
        out[key >> 3], at = varint(message, at)
    return out


def encoded(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def entry(vaddr, flags, nr):
    values = (VADDR, vaddr), (COMPAT_NR_PAGES, nr), (FLAGS, flags), (NR_PAGES, nr)
    message = b"".join(encoded(k << 3) + encoded(v) for k, v in values)
    return struct.pack("<I", len(message)) + message


def read_pagemap(path):
    data = open(path, "rb").read()
    at, messages = 8, []
    while at < len(data):
        size, = struct.unpack_from("<I", data, at)
        messages.append(data[at + 4:at + 4 + size])
        at += 4 + size
    head = data[:8] + struct.pack("<I", len(messages[0])) + messages[0]
    return head, fields(messages[0])[1], [fields(m) for m in messages[1:]]


def main():
    folder, levels = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2
    folders = [folder + "/parent.d" * i for i in range(levels)]
    for parent in folders[1:]:
        os.mkdir(parent)
        os.symlink("parent.d", os.path.dirname(parent) + "/parent")

    for path in glob.glob(folder + "/pagemap-*.img"):
        head, pages_id, entries = read_pagemap(path)
        pages = open(f"{folder}/pages-{pages_id}.img", "rb").read()
        new = [(bytearray(head), bytearray()) for _ in folders]
        off = 0
        for e in entries:
            done = 0
            while done < e[NR_PAGES]:
                vaddr = e[VADDR] + done * PAGE
                nr = min(3 - vaddr // PAGE % 3, e[NR_PAGES] - done)
                owner = vaddr // PAGE // 3 % levels
                for level, (pagemap, contents) in enumerate(new):
                    if level < owner:
                        pagemap += entry(vaddr, PARENT, nr)
                    elif level == owner:
                        pagemap += entry(vaddr, e[FLAGS] | PRESENT, nr)
                        contents += pages[off:off + nr * PAGE]
                off += nr * PAGE
                done += nr
        for where, (pagemap, contents) in zip(folders, new):
            with open(f"{where}/{os.path.basename(path)}", "wb") as f:
                f.write(pagemap)
            with open(f"{where}/pages-{pages_id}.img", "wb") as f:
                f.write(contents)


main()
