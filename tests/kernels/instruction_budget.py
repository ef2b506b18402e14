#!/usr/bin/env python3
"""Counts the instructions of the hot kernels and compares them with the budget.

    instruction_budget.py PROGRAM            fails if an operation takes over 2% more than its budget
    instruction_budget.py --update PROGRAM   writes what was counted as the new budget

Counts do not depend on how busy the machine is, but on the compiler: the budget
holds for the version that it names. Exit status 77: it cannot be compared here.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

BUDGET = pathlib.Path(__file__).with_name("instruction_budget.json")
TOLERANCE = 0.02
SKIPPED = 77


def count(program: str) -> dict[str, int]:
    """Instructions by operation."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", "--collect-atstart=no",
                   f"--callgrind-out-file={folder}/out", program]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode == SKIPPED:
            print(run.stderr)
            sys.exit(SKIPPED)
        if run.returncode != 0:
            sys.exit(f"{' '.join(command)} failed:\n{run.stderr}")
        counts = {}
        for path in pathlib.Path(folder).iterdir():
            text = path.read_text(encoding="utf-8", errors="replace")
            name = re.search(r"^desc: Trigger: Client Request: (\S+)$", text, re.MULTILINE)
            total = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
            if name and total:
                counts[name[1]] = int(total[1])
        return dict(sorted(counts.items()))


def compiler(program: str) -> str:
    """As the program records it, without the distribution's build number."""
    comment = subprocess.run(["readelf", "-p", ".comment", program], capture_output=True, text=True,
                             check=True).stdout
    return re.search(r"GCC: .*?(\d+\.\d+)", comment)[1] if "GCC: " in comment else "unknown"


def compare(counts: dict[str, int], budget: dict[str, int]) -> list[str]:
    """What is wrong, a line each."""
    wrong = [f"{name}: no budget; run with --update" for name in counts.keys() - budget.keys()]
    wrong += [f"{name}: not counted" for name in budget.keys() - counts.keys()]
    for name in sorted(counts.keys() & budget.keys()):
        ratio = counts[name] / budget[name]
        print(f"{name:26} {counts[name]:>12,} {ratio:8.3f} of the budget")
        if ratio > 1 + TOLERANCE:
            wrong.append(f"{name}: {counts[name]:,} instructions, budget {budget[name]:,}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--update", action="store_true")
    args = parser.parse_args()
    version = compiler(args.program)
    counts = count(args.program)
    if args.update:
        BUDGET.write_text(json.dumps({"gcc": version, "instructions": counts}, indent=2) + "\n",
                          encoding="utf-8")
        return 0
    budget = json.loads(BUDGET.read_text(encoding="utf-8"))
    if version != budget["gcc"]:
        print(f"the budget is for GCC {budget['gcc']}, this is {version}")
        return SKIPPED
    wrong = compare(counts, budget["instructions"])
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
