# SPDX-License-Identifier: MIT
"""Makes a table in Markdown of what targets.py has measured: table.py RESULTS.json...

Seconds; a slash between generations. Of several files, as of one for each side, the last one counts that has a case.
"""
import json
import sys

# How much longer many allocations may take than one of their size.
GOAL_OF_MANY = 1.3


def runs_of(results, target, side):
    return [run for run in results["runs"] if run["target"] == target and run["side"] == side]


def figures(runs, what):
    return " / ".join(f"{run[what]:.2f}" for run in runs if what in run)


def cell(runs):
    """Dump and restore of a side, and where it ends."""
    if not runs:
        return "-", "-"
    dump, restore = figures(runs, "dump"), figures([run for run in runs if run.get("contents")], "restore")
    for run in runs:
        if "failure" in run:
            text = {"start": "does not start", "time limit": "not in time", "dump": "refused or failed"}.get(run.get("at"), "fails")
            if "dump" in run:
                restore = " / ".join(filter(None, [restore, text]))
            else:
                dump = " / ".join(filter(None, [dump, text]))
    return dump or "-", restore or "-"


def ratio(results, side, what):
    """Of many allocations to one."""
    values = []
    for target in ("allocations", "allocation"):
        found = [run[what] for run in runs_of(results, target, side) if what in run and "failure" not in run]
        if not found:
            return None
        values.append(sum(found) / len(found))
    return values[0] / values[1]


def rows_of(results, programs=None, side="patched"):
    if programs is None:
        from programs import programs as all_of_them

        programs = all_of_them(results["machine"]["gpu"] == "SIMULATED", 2)
    yield "| program | stock CRIU: dump | restore | Rekindle: dump | restore |"
    yield "|---|--:|--:|--:|--:|"
    for program in programs:
        stock, ours = (runs_of(results, program.name, name) for name in ("stock", side))
        if stock or ours:
            yield "| " + " | ".join([program.title, *cell(stock), *cell(ours)]) + " |"
    texts = []
    for what in ("dump", "restore"):
        value = ratio(results, side, what)
        if value:
            texts.append(f"{what} {value:.2f} times")
    if texts:
        yield f"# many allocations against one of their size: {', '.join(texts)} (goal {GOAL_OF_MANY})"


def main():
    if not sys.argv[1:]:
        sys.exit(__doc__)
    runs = {}
    for name in sys.argv[1:]:
        with open(name, encoding="utf-8") as file:
            results = json.load(file)
        new = {}
        for run in results["runs"]:
            new.setdefault((run["target"], run["side"]), []).append(run)
        runs.update(new)
    for row in rows_of(dict(machine=results["machine"], runs=[run for case in runs.values() for run in case])):
        print(row)


if __name__ == "__main__":
    main()
