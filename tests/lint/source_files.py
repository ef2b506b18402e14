#!/usr/bin/env python3
"""Lists the tree's files for the lint tests and for scripts/format.sh.

    source_files.py [--root DIR] [--suffix .h .cc ...] [--null]
"""

import argparse
import os
import pathlib

SKIPPED_FOLDERS = {"build", ".git", ".cache", "__pycache__"}

# Weights, tokenizers, reference outputs, and inputs that are broken on purpose.
DATA = ("models/", "tests/goldens/", "tests/fuzz/corpus/")


def default_root():
    return pathlib.Path(__file__).resolve().parents[2]


def our_files(root):
    """What people write here: paths relative to `root`, with slashes, sorted."""
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in SKIPPED_FOLDERS]
        relative = pathlib.Path(folder).relative_to(root)
        # A worktree's .git is a file.
        found += [(relative / name).as_posix() for name in names
                  if name not in SKIPPED_FOLDERS and not name.endswith(".pyc")]
    return sorted(path for path in found if not path.startswith(DATA))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, default=default_root())
    parser.add_argument("--suffix", nargs="*", default=[""])
    parser.add_argument("--null", action="store_true", help="end each path with a zero byte")
    arguments = parser.parse_args()
    for path in our_files(arguments.root):
        if path.endswith(tuple(arguments.suffix)):
            print(path, end="\0" if arguments.null else "\n")


if __name__ == "__main__":
    main()
