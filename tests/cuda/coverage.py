#!/usr/bin/env python3
"""Which lines of kernels/cuda the tests on emulated GPUs have run.

    coverage.py --reset OBJECTS     forgets what ran before
    coverage.py OBJECTS [--lines]   a table by file, with the lines that did not run if asked; exit
                                    code 1 if a file falls short of coverage.json

OBJECTS is the folder in which the compiler has put the objects, with what was counted beside them.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNELS = ROOT / "kernels/cuda"
FIGURES = pathlib.Path(__file__).with_name("coverage.json")


def counted(objects):
    """{file of kernels/cuda: {line: how often it ran}}, where a template counts as one.

    Without lines of a brace alone: what they have is for exceptions that pass through.
    """
    lines = collections.defaultdict(collections.Counter)
    for profile in sorted(objects.rglob("*.gcda")):
        output = subprocess.run(["gcov", "--json-format", "--stdout", profile], check=True,
                                capture_output=True, text=True).stdout
        report = json.loads(output)
        for file in report["files"]:
            path = pathlib.Path(report["current_working_directory"], file["file"]).resolve()
            if path.parent != KERNELS:
                continue
            source = path.read_text().splitlines()
            for line in file["lines"]:
                if source[line["line_number"] - 1].strip() != "}":
                    lines[path.name][line["line_number"]] += line["count"]
    return lines


def percent(lines):
    return 100 * sum(count > 0 for count in lines.values()) / len(lines)


def least(name, figures):
    return figures[pathlib.PurePath(name).suffix]


def problems(lines, figures):
    """What falls short of the figures: {suffix: the least percentage of each such file's lines}."""
    if not lines:
        return ["nothing has run: the tests on emulated GPUs come first"]
    return [f"{name}: {percent(lines[name]):.1f}% of its lines run, {least(name, figures)}% should"
            for name in sorted(lines) if percent(lines[name]) < least(name, figures)]


def ranges(numbers):
    """1, 2, 3, 5 as 1-3, 5."""
    runs = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def print_table(lines, figures, with_lines):
    print(f"{'file':26} {'lines':>6} {'run':>6} {'least':>6}")
    for name in sorted(lines):
        print(f"{name:26} {len(lines[name]):6} {percent(lines[name]):5.1f}% "
              f"{least(name, figures):5}%")
        missed = [line for line, count in lines[name].items() if count == 0]
        if missed and with_lines:
            print(f"    not: {ranges(missed)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("objects", type=pathlib.Path)
    parser.add_argument("--reset", action="store_true")
    parser.add_argument("--lines", action="store_true")
    arguments = parser.parse_args()
    if arguments.reset:
        for profile in arguments.objects.rglob("*.gcda"):
            profile.unlink()
        return 0
    figures = json.loads(FIGURES.read_text())
    lines = counted(arguments.objects)
    print_table(lines, figures, arguments.lines)
    found = problems(lines, figures)
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
