#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares what stands in more than one place: the settings of settings/settings_table.h with README.md, rekindle.h and
Java, the version in CMake, header and poms, and how one sentence is spelt. facts_test.py NATIVE; without an argument it
tests itself."""

import re
import sys
import unittest
from pathlib import Path

CALL = re.compile(r'\b(SWITCH|NUMBER|SIZE|PATH)\(\s*"(\w+)",\s*(\w+),\s*(.*?)"((?:[^"\\]|\\.)*)"\)', re.DOTALL)
# README.md's words for what settings_load works out, and for what no path is named.
DEFAULTS = {
    "CRIU_CUDA_STREAMS": "cores, 16 at most",
    "REKINDLE_RING_SIZE": "8M for each worker",
    "REKINDLE_POOL_PROGRAM": "beside the plugin",
    "REKINDLE_CUDA_DRIVER": "libcuda.so.1",
    "REKINDLE_DEVICE_MAP": "the same GPUs",
}
# Texts that are no paths.
VALUES = {"REKINDLE_DEVICE_MAP": "`OLD=NEW,...`, `NEW`, `auto`", "REKINDLE_PARENT": "path, `none`",
          "REKINDLE_PARK": "`file`, `device`, `pinned`, `ephemeral`"}
# Settings in README.md's table that are not of plugin and pool.
OF_OTHERS = ("REKINDLE_AGENT", "REKINDLE_AGENT_IO_URING", "REKINDLE_AGENT_MINIMUM", "REKINDLE_CONFIGURATION")

# What runs with the application's C library, which may lack what errno_text() takes.
WITH_ANY_LIBC = ("agent/", "worker/")


def megabytes(number):
    return f"{int(number) // 1024}G" if int(number) % 1024 == 0 else f"{number}M"


def settings(table):
    """{name: (values, default, sentence)} as README.md is to have them, and {member: range} of numbers and sizes (MiB)."""
    rows, ranges = {}, {}
    for kind, name, member, middle, sentence in CALL.findall(table.replace("\\\n", "\n")):
        values = [value.strip().strip('"') for value in middle.split(",")][:-1]
        default = DEFAULTS.get(name)
        if kind in ("NUMBER", "SIZE"):
            ranges[member] = (int(values[0]), int(values[1]))
        if kind == "SWITCH":
            rows[name] = ("0, 1", default or values[0], sentence)
        elif kind == "NUMBER":
            rows[name] = (f"{values[0]} to {values[1]}", default or values[2], sentence)
        elif kind == "SIZE":
            rows[name] = (f"{megabytes(values[0])} to {megabytes(values[1])}", default or megabytes(values[3]), sentence)
        else:
            rows[name] = (VALUES.get(name, "path"), default or values[3], sentence)
    return rows, ranges


def compare_readme(readme, rows):
    found = {cells[0].strip(" `"): tuple(cell.strip() for cell in cells[1:])
             for cells in (line.strip().strip("|").split("|") for line in readme.splitlines()
                           if re.match(r"\| `(CRIU_CUDA|REKINDLE)_\w+` \|", line))}
    for name, row in rows.items():
        if found.get(name) != row:
            yield f"README.md says of {name}: {found.get(name)}; settings_table.h: {row}"
    for name in found:
        if name not in rows and name not in OF_OTHERS:
            yield f"README.md has {name}, which settings_table.h lacks"


def compare_version(version, header, poms):
    numbers = [re.search(rf"REKINDLE_VERSION_{part} (\d+)", header)[1] for part in ("MAJOR", "MINOR", "PATCH")]
    if ".".join(numbers) != version:
        yield f"rekindle.h is of version {'.'.join(numbers)}, CMake of {version}"
    for name, pom in poms.items():
        stated = re.search(r"<artifactId>rekindle[\w-]*</artifactId>\s*<version>([\d.]+)(-SNAPSHOT)?</version>", pom)
        if stated is None or stated[1] != version:
            yield f"{name} is of version {stated and stated[1]}, CMake of {version}"


def compare_spelling(sources):
    for name, text in sources.items():
        for found in re.findall(r'"[^"\n]*(?:[Mm]emory is out|out of memory|Out of memory[.])[^"\n]*"', text):
            yield f"{name} spells it {found}: the others say Out of memory"
        if "strerror(" in text and not name.startswith(WITH_ANY_LIBC):
            yield f"{name} uses strerror, which says Cannot allocate memory: errno_text() says Out of memory"


def compare(native):
    top = native.parent
    rows, ranges = settings((native / "settings/settings_table.h").read_text())
    header = (native / "include/rekindle.h").read_text()
    environment = (native / "api/criu/environment.c").read_text()
    java = (top / "java/src/main/java/dev/rekindle/Rekindle.java").read_text()
    measurement = (top / "java/src/main/java/dev/rekindle/CopyMeasurement.java").read_text()
    lowest, highest = ranges["streams"]
    smallest, largest = ranges["chunk_bytes"]
    for name, text, words in (("rekindle.h", header, f"copy workers, {lowest} to {highest}"),
                              ("environment.c", environment, f"a number from 0 to {highest}"),
                              ("rekindle.h", header, f"workers; /**< {lowest} to {highest} */"),
                              ("rekindle.h", header, f"chunk_bytes; /**< {smallest} MiB to {largest} MiB */"),
                              ("CopyMeasurement.java", measurement, f"@param workers copy workers, {lowest} to {highest}"),
                              ("CopyMeasurement.java", measurement, f"size of a chunk, {smallest} to {largest} MiB"),
                              ("Rekindle.java", java, f"@param streams {lowest} to {highest}"),
                              ("Rekindle.java", java, f"streams < {lowest} || streams > {highest}")):
        if words not in " ".join(text.split()):
            yield f"{name} does not say: {words}"
    yield from compare_readme((top / "README.md").read_text(), rows)
    yield from compare_spelling({path.relative_to(native).as_posix(): path.read_text()
                                 for folder in native.iterdir() if folder.name not in ("build", "criu", "simcuda")
                                 for path in folder.rglob("*.[ch]")})
    version = re.search(r"project\(rekindle VERSION ([\d.]+)", (native / "CMakeLists.txt").read_text())[1]
    poms = {path.relative_to(top).as_posix(): path.read_text() for path in sorted(top.glob("**/pom.xml"))
            if "target" not in path.parts and "build" not in path.parts}
    yield from compare_version(version, header, poms)


class Faults(unittest.TestCase):
    TABLE = 'SWITCH("REKINDLE_A", a, 1, "says") SIZE("REKINDLE_B", b, 8, 2048, 0, 16, "much")'
    README = "| `REKINDLE_A` | 0, 1 | 1 | says |\n| `REKINDLE_B` | 8M to 2G | 16M | much |\n| `REKINDLE_AGENT` | 0 | 1 | x |\n"

    def faults(self, readme):
        return len(list(compare_readme(readme, settings(self.TABLE)[0])))

    def test_rows(self):
        self.assertEqual(self.faults(self.README), 0)
        self.assertEqual(self.faults(self.README.replace("2G", "4G")), 1)
        self.assertEqual(self.faults(self.README.replace("says", "tells")), 1)
        self.assertEqual(self.faults(self.README.replace("REKINDLE_A`", "REKINDLE_C`")), 2)

    def test_spelling(self):
        self.assertEqual(list(compare_spelling({"a.c": 'fail(error, -ENOMEM, "Out of memory")'})), [])
        self.assertEqual(len(list(compare_spelling({"a.c": 'fail(error, -ENOMEM, "Memory is out.")'}))), 1)
        self.assertEqual(len(list(compare_spelling({"pool/a.c": "strerror(errno)"}))), 1)
        self.assertEqual(list(compare_spelling({"agent/a.c": "strerror(errno)"})), [])

    def test_version(self):
        header = "REKINDLE_VERSION_MAJOR 0\nREKINDLE_VERSION_MINOR 1\nREKINDLE_VERSION_PATCH 0\n"
        pom = "<artifactId>rekindle-x</artifactId>\n<version>0.1.0-SNAPSHOT</version>"
        self.assertEqual(list(compare_version("0.1.0", header, {"pom.xml": pom})), [])
        self.assertEqual(len(list(compare_version("0.2.0", header, {"pom.xml": pom}))), 2)


def main():
    if len(sys.argv) == 1:
        unittest.main()
    faults = list(compare(Path(sys.argv[1]).resolve()))
    print("\n".join(faults))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
