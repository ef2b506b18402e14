#!/usr/bin/env python3
"""Checks the one direction: kernels <- engine <- server, and who may see proto/.

    include_rules.py [ROOT]      prints one line per violation; exit code 1 if there is one
"""

import pathlib
import re
import sys

import source_files

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')

OUR_FOLDERS = ("kernels", "engine", "server", "client", "figures", "bench", "loadtest", "tests")

# What a header's path begins with, per library.
LIBRARIES = {
    "our generated protocol": ("strata/v1/",),
    "protobuf": ("google/", "xds/"),
    "gRPC": ("grpc/", "grpc++/", "grpcpp/"),
    "Prometheus": ("prometheus/", "civetweb", "CivetServer"),
    "Abseil": ("absl/",),
    "spdlog": ("spdlog/",),
    "CLI11": ("CLI/",),
    "toml++": ("toml++/", "toml.h"),
    "fmt": ("fmt/",),
    "nlohmann-json": ("nlohmann/",),
    "sentencepiece": ("sentencepiece",),
    "PCRE2": ("pcre2",),
}

PROTOCOL = {"our generated protocol", "protobuf", "gRPC"}
FRONT_END = PROTOCOL | {"Prometheus", "spdlog", "CLI11", "toml++"}

# Folder: (folders of ours it may include, libraries it may not).
RULES = {
    "kernels": ({"kernels"}, set(LIBRARIES)),
    "engine": ({"kernels", "engine"}, FRONT_END),
    "server": ({"kernels", "engine", "server"}, set()),
    "client": ({"client"}, {"Prometheus"}),
    "figures": ({"figures"}, FRONT_END | {"Abseil"}),
    "bench": ({"kernels", "engine", "figures", "bench"}, PROTOCOL | {"Prometheus"}),
    "loadtest": ({"client", "figures", "loadtest"}, {"Prometheus"}),
}


def violation(path, header):
    """Why the file at `path` may not include `header`; None if it may."""
    folder = path.split("/")[0]
    if folder not in RULES:
        return None
    folders, forbidden_libraries = RULES[folder]
    target = header.split("/")[0]
    if "/" in header and target in OUR_FOLDERS and target not in folders:
        return f"{folder}/ may not see {target}/"
    for library, prefixes in LIBRARIES.items():
        if library in forbidden_libraries and header.startswith(prefixes):
            return f"{folder}/ may not see {library}"
    if header.startswith(".."):
        return "include paths start at the root of the tree"
    return None


def check(root):
    problems = []
    for path in source_files.our_files(root):
        if not path.endswith((".h", ".cc", ".cu", ".cuh")):
            continue
        text = (root / path).read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            match = INCLUDE.match(line)
            why = violation(path, match.group(1)) if match else None
            if why:
                problems.append(f"{path}:{number}: includes {match.group(1)}: {why}")
    return problems


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else source_files.default_root()
    found = check(root)
    print("\n".join(found) or "includes: all in the right direction")
    sys.exit(1 if found else 0)
