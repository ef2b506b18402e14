#!/usr/bin/env python3
"""Checks what every text file of ours must be like.

    file_rules.py [ROOT]         prints one line per violation; exit code 1 if there is one
"""

import pathlib
import re
import sys

import source_files

# Written so that this file does not match itself.
LATER_MARK = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
# A path that exists on somebody's machine only. Not preceded by what would make
# it a part of a URL or of a longer path.
MACHINE_PATH = re.compile(r"(?<![\w.$}~*-])/(home|root|work|Users|mnt|scratch)/")


def expected_guard(path):
    return "STRATA_" + re.sub(r"[^A-Za-z0-9]", "_", path).upper() + "_"


def guard_problem(path, text):
    guard = expected_guard(path)
    directives = [line for line in text.splitlines() if line.startswith("#")]
    if directives[:2] != [f"#ifndef {guard}", f"#define {guard}"]:
        return f"{path}:1: its include guard is not {guard}"
    if directives[-1] != f"#endif  // {guard}":
        return f"{path}:1: does not end with '#endif  // {guard}'"
    return None


def line_problems(path, text):
    for number, line in enumerate(text.split("\n"), 1):
        if LATER_MARK.search(line):
            yield f"{path}:{number}: a note for later; make it an issue"
        if MACHINE_PATH.search(line):
            yield f"{path}:{number}: a path of one machine"
        if line != line.rstrip():
            yield f"{path}:{number}: ends with white space"


def file_problems(path, content):
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return [f"{path}:1: is not UTF-8"]
    problems = list(line_problems(path, text))
    if text and not text.endswith("\n"):
        problems.append(f"{path}: does not end with a newline")
    if text.endswith("\n\n"):
        problems.append(f"{path}: ends with an empty line")
    if path.endswith((".h", ".cuh")):
        problem = guard_problem(path, text)
        if problem:
            problems.append(problem)
    return problems


def check(root):
    problems = []
    for path in source_files.our_files(root):
        content = (root / path).read_bytes()
        if b"\0" not in content:  # else it is no text
            problems += file_problems(path, content)
    return problems


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else source_files.default_root()
    found = check(root)
    print("\n".join(found) or "files: all as they should be")
    sys.exit(1 if found else 0)
