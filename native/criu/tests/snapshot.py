#!/usr/bin/env python3
"""What has to be the same after a restore, of the processes named: address,
protection, offset, file and flags of every mapping, and the thread ids.

Left out is what no CRIU restores: soft-dirty and accounting flags, borders
between neighbours that are equal in everything, and the /dev/zero that shared
anonymous memory has for a name."""

import os
import re
import sys


def mappings(pid):
    with open(f"/proc/{pid}/smaps") as f:
        for line in f:
            m = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ \d+ *(.*)", line)
            if m:
                start, end, off = (int(m[i], 16) for i in (1, 2, 4))
                prot, name = m[3], m[5].replace("/memfd:/dev/zero", "/dev/zero")
            elif line.startswith("VmFlags:"):
                flags = [x for x in line.split()[1:] if x not in ("sd", "ac")]
                if "[vvar" not in name:
                    yield [start, end, prot, off, name, " ".join(flags)]


def merged(pid):
    last = None
    for m in mappings(pid):
        if last and last[1] == m[0] and [last[2]] + last[4:] == [m[2]] + m[4:] and (
                not m[4].startswith("/") or last[3] + last[1] - last[0] == m[3]):
            last[1] = m[1]
            continue
        if last:
            yield last
        last = m
    if last:
        yield last


for pid in sys.argv[1:]:
    print("process", pid)
    for start, end, prot, off, name, flags in merged(pid):
        print(f"{start:x}-{end:x} {prot} {off:x} {name} ({flags})")
    print("threads", *sorted(map(int, os.listdir(f"/proc/{pid}/task"))))
