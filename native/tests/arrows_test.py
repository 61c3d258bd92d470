#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the source tree against the table of rooms in native/README.md: every #include, and every symbol that an object
file takes from another one, is an arrow that the table allows, and no files need each other in a circle. The headers of
other rooms are out of the compiler's reach: a file that included one would not compile.

    arrows_test.py SOURCE BUILD     what a test runs: 0, or 1 with every arrow that is not allowed
    arrows_test.py SOURCE BUILD -v  also how many there are, and the circles in full
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import unittest
from collections import defaultdict
from pathlib import Path

HEADING = "## Rooms and arrows"
# What only tests use may ask anybody, and nobody is asked to know it.
TESTS = re.compile(r"^(fuzz|criu|tests)/|/tests/|_test(_\w+)?\.|(^|/)test_")
# Loaded into programs, which find the driver's functions and dlsym in them: nobody is linked with these.
LOADED = ("agent", "simcuda")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
SYMBOL = re.compile(r"(.+\.o):(?:[0-9a-f]+| +) ([A-Za-z]) (\S+)$", re.MULTILINE)


def read_table(readme):
    """The rooms of the first code block under the heading: {room: rooms that it may ask}."""
    block = readme.split(HEADING, 1)[1].split("```")[1].split("\n", 1)[1]
    table = {}
    for line in block.splitlines():
        room, _, below = line.partition(":")
        table[room.strip()] = below.split()
    for room, below in table.items():
        for other in below:
            if other not in table:
                raise SystemExit(f"the table names {other}, which is no room of it, under {room}")
    return table


def room_of(path, table):
    """The innermost room that a file lies in, None for one outside the table."""
    folder = os.path.dirname(path)
    while folder and folder not in table:
        folder = os.path.dirname(folder)
    return folder or None


def sources(root):
    for path in sorted(root.rglob("*.[chS]")):
        name = path.relative_to(root).as_posix()
        if not name.startswith("build") and not TESTS.search(name):
            yield name


def included(root):
    """(file, file that it includes) for every quoted include of a file of the tree."""
    known = {path.relative_to(root).as_posix() for path in root.rglob("*.h") if "build" not in path.parts}
    for name in sources(root):
        for target in INCLUDE.findall((root / name).read_text()):
            beside = os.path.join(os.path.dirname(name), target)
            for candidate in (target, beside, f"include/{target}"):
                if candidate in known:
                    yield name, candidate
                    break


def objects(root, build):
    """{source file: its object file}, one for each source that is still there."""
    found = {}
    for path in sorted(build.rglob("*.o")):
        match = re.fullmatch(r"(?:(.*)/)?CMakeFiles/[^/]+\.dir/(.*)\.o", path.relative_to(build).as_posix())
        if match and ".pb-c" not in match[2]:
            name = os.path.normpath(os.path.join(match[1] or "", match[2]))
            if not TESTS.search(name) and (root / name).exists():
                found.setdefault(name, path)
    return found


def linked(root, build):
    """{(file, file that it takes symbols from): the symbols}."""
    files = objects(root, build)
    names = {str(path): name for name, path in files.items()}
    listing = subprocess.run(["nm", "-A", "-g", *names], check=True, capture_output=True, text=True).stdout
    defined, wanted = defaultdict(set), []
    for path, kind, symbol in SYMBOL.findall(listing):
        if kind in "TDBRWV":
            defined[symbol].add(names[path])
        elif kind == "U":
            wanted.append((names[path], symbol))
    arrows = defaultdict(list)
    for name, symbol in wanted:
        top = name.split("/")[0]
        own = [other for other in defined[symbol] if other.split("/")[0] == top]
        for other in own or [other for other in defined[symbol] if other.split("/")[0] not in LOADED]:
            if other != name:
                arrows[name, other].append(symbol)
    return arrows


def in_reach(root, build, table):
    """Headers that the compiler would find for a file although its room may not ask theirs, as sentences. What a test
    compiles once more may find all of them."""
    headers = [name for name in sources(root) if name.endswith(".h")]
    rooms_seen, least = {}, {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        name = os.path.relpath(entry["file"], root)
        room = room_of(name, table)
        if room is None or TESTS.search(name):
            continue
        folders = tuple(word[2:] for word in shlex.split(entry["command"]) if word.startswith("-I"))
        if folders not in rooms_seen:
            rooms_seen[folders] = {room_of(header, table) for header in headers
                                   if any(os.path.exists(os.path.join(folder, header)) for folder in folders)}
        found = rooms_seen[folders] - {None, room, *table[room]}
        if name not in least or len(found) < len(least[name]):
            least[name] = found
    for name, found in sorted(least.items()):
        if found:
            yield f"{name} would compile with headers of {', '.join(sorted(found))}"


def circles(arrows):
    """Tarjan's strongly connected components of more than one file."""
    below = defaultdict(set)
    for name, other in arrows:
        below[name].add(other)
    index, low, stack, found = {}, {}, [], []

    def visit(name):
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(below[name]):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for name in sorted(list(below)):
        if name not in index:
            visit(name)
    return found


def forbidden(arrows, table):
    """The arrows that the table does not allow, as sentences."""
    for (name, other), why in sorted(arrows.items()):
        above, below = room_of(name, table), room_of(other, table)
        if above is None or below is None:
            missing = name if above is None else other
            yield f"{missing} lies in no room of the table"
        elif above != below and below not in table[above]:
            yield f"{name} asks {other} ({', '.join(why[:4])}): {above} may not ask {below}"


def check(root, build, verbose=False):
    table = read_table((root / "README.md").read_text())
    includes = {pair: ["#include"] for pair in included(root)}
    symbols = linked(root, build)
    bad = sorted(set(forbidden(includes, table)) | set(forbidden(symbols, table)))
    bad += in_reach(root, build, table)
    bad += [f"circle of {len(circle)} files: {' '.join(circle)}" for circle in circles(symbols)]
    bad += [f"circle of {len(circle)} rooms: {' '.join(circle)}"
            for circle in circles({(room, other) for room in table for other in table[room]})]
    if verbose:
        print(f"{len(table)} rooms, {len(includes)} includes, {len(symbols)} arrows of symbols")
    return bad


class Faults(unittest.TestCase):
    """What the check finds in a tree made for it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.build = self.root / "build"
        self.write("README.md", f"{HEADING}\n\n```text\nlow:\nhigh: low\n```\n")
        self.write("low/a.h", "int a(int);\n")
        self.write("low/a.c", '#include "low/a.h"\nint a(int n) { return n; }\n')
        self.write("high/b.h", "int b(int);\n")
        self.write("high/b.c", '#include "high/b.h"\n#include "low/a.h"\nint b(int n) { return a(n); }\n')

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def check(self, reach=()):
        commands = []
        for path in self.root.rglob("*.c"):
            out = self.build / path.parent.name / "CMakeFiles/x.dir" / f"{path.name}.o"
            out.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cc", "-I", self.root, "-c", "-o", out, path], check=True)
            commands.append({"file": str(path), "command": " ".join(["cc", *(f"-I{folder}" for folder in reach)])})
        (self.build / "compile_commands.json").write_text(json.dumps(commands))
        return check(self.root, self.build)

    def test_what_is_allowed_passes(self):
        self.assertEqual(self.check(), [])

    def test_an_include_that_goes_up_is_found(self):
        self.write("low/a.c", '#include "high/b.h"\nint a(int n) { return n; }\n')
        self.assertEqual(len(self.check()), 1)

    def test_a_symbol_from_above_is_found_without_its_header(self):
        self.write("low/c.c", "int b(int);\nint c(int n) { return b(n); }\n")
        self.assertEqual(len(self.check()), 1)

    def test_a_circle_within_a_room_is_found(self):
        self.write("low/c.c", "int a(int);\nint c(int n) { return a(n); }\n")
        self.write("low/a.c", "int c(int);\nint a(int n) { return c(n); }\n")
        self.assertEqual(self.check(), ["circle of 2 files: low/a.c low/c.c"])

    def test_headers_in_reach_of_the_compiler_are_found(self):
        self.assertEqual(self.check([self.root]), ["low/a.c would compile with headers of high"])

    def test_a_file_without_a_room_is_found(self):
        self.write("loose/c.c", "int a(int);\nint c(int n) { return a(n); }\n")
        self.assertEqual(self.check(), ["loose/c.c lies in no room of the table"])


def main():
    if len(sys.argv) == 1:
        unittest.main()
    bad = check(Path(sys.argv[1]), Path(sys.argv[2]), "-v" in sys.argv)
    for sentence in bad:
        print(sentence)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
