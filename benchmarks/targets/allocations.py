# SPDX-License-Identifier: MIT
"""Many allocations of 2 to 3 MiB, each of which takes 4 MiB of the device, or one as big as they are together."""
import argparse

from device import PIECE, Contents, Device
from report import Report

MIB, KIB = 1 << 20, 1 << 10


def sizes(count):
    """Between 2 and 3 MiB, both left out, in no order."""
    return [2 * MIB + (1 + number * 619 % 1022) * KIB for number in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", required=True)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--one", action="store_true", help="one allocation that takes as much of the device")
    parser.add_argument("--simulated", action="store_true", help="(no difference)")
    arguments = parser.parse_args()
    report = Report(arguments.state, create=True)
    contents = Contents(Device(), [arguments.count * PIECE] if arguments.one else sizes(arguments.count))
    while True:
        wanted, right = report.wanted(), 0
        for number, (_, size) in enumerate(contents.pieces):
            if not contents.is_right(number):
                report.fail(f"piece {number} of {len(contents.pieces)} is not what it was")
            right += size
            report.step()
            if report.is_asked() and report.wanted() != wanted:
                break  # what is asked for begins now
        else:
            report.check(right, wanted)


if __name__ == "__main__":
    main()
