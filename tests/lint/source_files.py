#!/usr/bin/env python3
"""Lists the tree's files for the lint tests and for scripts/format.sh.

    source_files.py [--root DIR] [--suffix .h .cc ...] [--not-vendored] [--null]
"""

import argparse
import os
import pathlib

SKIPPED_FOLDERS = {"build", ".git", ".cache", "__pycache__"}

# Protocols of others, kept as they were published.
VENDORED = ("proto/google/", "proto/grpc/", "proto/xds/")
# Weights, tokenizers and reference outputs.
DATA = ("models/", "tests/goldens/")


def default_root():
    return pathlib.Path(__file__).resolve().parents[2]


def all_files(root):
    """Paths below `root`, relative to it, with slashes, sorted."""
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in SKIPPED_FOLDERS]
        relative = pathlib.Path(folder).relative_to(root)
        found += [(relative / name).as_posix() for name in names if not name.endswith(".pyc")]
    return sorted(found)


def our_files(root):
    """Those that people write here: neither vendored nor data."""
    return [path for path in all_files(root) if not path.startswith(VENDORED + DATA)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, default=default_root())
    parser.add_argument("--suffix", nargs="*", default=[])
    parser.add_argument("--not-vendored", action="store_true")
    parser.add_argument("--null", action="store_true", help="end each path with a zero byte")
    arguments = parser.parse_args()
    paths = our_files(arguments.root) if arguments.not_vendored else all_files(arguments.root)
    for path in paths:
        if not arguments.suffix or path.endswith(tuple(arguments.suffix)):
            print(path, end="\0" if arguments.null else "\n")


if __name__ == "__main__":
    main()
