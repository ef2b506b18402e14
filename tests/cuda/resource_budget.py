#!/usr/bin/env python3
"""Compares each kernel's registers and shared memory with resource_budget.json.

    resource_budget.py CUOBJDUMP OBJECT...           exit code 1 if a kernel takes more, or is new
    resource_budget.py --write CUOBJDUMP OBJECT...   makes what they take the budget

Local memory is not in the budget: no kernel may use any.
"""

import json
import pathlib
import re
import subprocess
import sys

BUDGET = pathlib.Path(__file__).with_name("resource_budget.json")
FUNCTION = re.compile(r"^ Function (\S+):$")
USAGE = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")
ARCH = re.compile(r"^arch = (sm_\d+)$")


def short_names(mangled):
    """Names as in the source, without namespaces and parameters."""
    result = subprocess.run(["c++filt"], input="\n".join(mangled), capture_output=True, text=True,
                            check=True)
    names = []
    for name in result.stdout.split("\n"):
        name = re.sub(r"\((?!anonymous)[^()]*\)$", "", name)
        name = re.sub(r"\(anonymous namespace\)::|(?:\w+::)+", "", name)
        name = re.sub(r"\(\w+\)|^void ", "", name)
        names.append(name.replace("__nv_bfloat16", "bf16").replace("__half", "f16"))
    return names


def usage(cuobjdump, objects):
    """{"Kernel<..>": {"sm_80": [registers, shared bytes]}}, and what uses local memory."""
    found, local, arch, function = {}, [], None, None
    for path in objects:
        output = subprocess.run([cuobjdump, "-res-usage", path], capture_output=True, text=True,
                                check=True)
        rows = []
        for line in (output.stdout + output.stderr).splitlines():
            if match := ARCH.match(line.strip()):
                arch = match.group(1)
            elif match := FUNCTION.match(line):
                function = match.group(1)
            elif (match := USAGE.search(line)) and function:
                rows.append((function, arch, *map(int, match.groups())))
        names = short_names([row[0] for row in rows])
        for name, (_, row_arch, registers, stack, shared, local_bytes) in zip(names, rows):
            found.setdefault(name, {})[row_arch] = [registers, shared]
            if stack or local_bytes:
                local.append(f"{name} {row_arch}: {stack + local_bytes} bytes of local memory")
    return found, local


def compare(found, budget):
    """A line for each kernel that is out of the budget."""
    problems = []
    for name, by_arch in sorted(found.items()):
        for arch, (registers, shared) in sorted(by_arch.items()):
            allowed = budget.get(name, {}).get(arch)
            if allowed is None:
                problems.append(f"{name} {arch}: not in the budget")
            elif registers > allowed[0] or shared > allowed[1]:
                problems.append(f"{name} {arch}: {registers} registers, {shared} bytes shared; "
                                f"the budget is {allowed[0]}, {allowed[1]}")
    for name in sorted(budget.keys() - found.keys()):
        problems.append(f"{name}: in the budget, but no kernel")
    return problems


def check_myself():
    """The comparison sees what it should."""
    good = {"A": {"sm_90": [32, 64]}}
    assert not compare(good, good)
    assert compare({"A": {"sm_90": [33, 64]}}, good) and compare({"A": {"sm_90": [32, 65]}}, good)
    assert compare({**good, "B": {"sm_90": [1, 0]}}, good) and compare({}, good)


def main():
    check_myself()
    arguments = sys.argv[1:]
    write = arguments[0] == "--write"
    found, problems = usage(arguments[write], arguments[write + 1:])
    if not found:
        sys.exit("resource_budget: no kernel found")
    if write:
        lines = [f"  {json.dumps(name)}: {json.dumps(by_arch)}"
                 for name, by_arch in sorted(found.items())]
        BUDGET.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    problems += compare(found, json.loads(BUDGET.read_text(encoding="utf-8")))
    print("\n".join(problems) or f"resource_budget: {len(found)} kernels within the budget")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
