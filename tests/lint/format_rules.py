#!/usr/bin/env python3
"""Checks that our C++ and proto files are as clang-format 14 writes them.

    format_rules.py [ROOT]       prints one line per violation; exit code 1 if there is one
"""

import pathlib
import re
import shutil
import subprocess
import sys

import source_files

PROGRAM = "clang-format-14"  # other versions format differently
COMPLAINT = re.compile(r"^(.*?):(\d+):\d+: error: code should be clang-formatted")


def check(root):
    if shutil.which(PROGRAM) is None:
        return [f"{PROGRAM} is not installed; run: make setup"]
    paths = [path for path in source_files.our_files(root)
             if path.endswith((".h", ".cc", ".cu", ".cuh", ".proto"))]
    if not paths:
        return []
    result = subprocess.run([PROGRAM, "--style=file", "--dry-run", "-Werror", *paths], cwd=root,
                            capture_output=True, text=True, check=False)
    first_lines = {}
    for line in result.stderr.splitlines():
        match = COMPLAINT.match(line)
        if match:
            first_lines.setdefault(match.group(1), match.group(2))
    problems = [f"{path}:{number}: not formatted; run: make format"
                for path, number in first_lines.items()]
    if result.returncode != 0 and not problems:
        problems.append(f"{PROGRAM} failed: {result.stderr.strip()}")
    return problems


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else source_files.default_root()
    found = check(root)
    print("\n".join(found) or "format: all formatted")
    sys.exit(1 if found else 0)
