#!/usr/bin/env python3
"""Checks which tensor core instructions the matrix products are made of: inline assembly, of which
the emulator has a twin, and so no other test sees it.

    tensor_cores.py CUOBJDUMP OBJECT...     exit code 1 if one is not what its kernel should have
"""

import re
import subprocess
import sys

FUNCTION = re.compile(r"^\s*Function : (\S+)")
ARCH = re.compile(r"^arch = (sm_\d+)")
PRODUCT = re.compile(r"\b([HI]MMA\S*)")
# What products of a kind of weights are made of; those of f32 use no tensor cores.
EXPECTED = {
    "PlainWeights<__nv_bfloat16>": {"HMMA.16816.F32.BF16"},
    "PlainWeights<__half>": {"HMMA.16816.F32"},
    "PlainWeights<float>": set(),
    "Int8Weights": {"HMMA.16816.F32.BF16"},
    "Int4Weights": {"HMMA.16816.F32.BF16"},
}


def instructions(sass):
    """{(mangled kernel, architecture): names of its tensor core instructions}"""
    found, arch, function = {}, None, None
    for line in sass.splitlines():
        if match := ARCH.match(line.strip()):
            arch = match.group(1)
        elif match := FUNCTION.match(line):
            function = (match.group(1), arch)
            found[function] = set()
        elif function and (match := PRODUCT.search(line)):
            found[function].add(match.group(1))
    return found


def problems(found):
    """A line for each kernel that is not made of what it should be, or is missing."""
    mangled = sorted({name for name, _ in found})
    plain = subprocess.run(["c++filt"], input="\n".join(mangled), capture_output=True, text=True,
                           check=True).stdout.splitlines()
    names = dict(zip(mangled, plain))
    lines, seen = [], set()
    for (name, arch), used in sorted(found.items()):
        match = re.search(r"MatMulKernel<(?:\w+::)*(\w+(?:<[^>]*>)?)", names[name])
        if not match:
            continue
        weights = match.group(1)
        seen.add(weights)
        if used != EXPECTED.get(weights):
            lines.append(f"MatMulKernel<{weights}> {arch}: {sorted(used)}, "
                         f"not {sorted(EXPECTED.get(weights, []))}")
    return lines + [f"no MatMulKernel<{weights}>" for weights in EXPECTED.keys() - seen]


def main():
    cuobjdump, *objects = sys.argv[1:]
    found = {}
    for path in objects:
        found |= instructions(subprocess.run([cuobjdump, "-sass", path], capture_output=True,
                                             text=True, check=True).stdout)
    wrong = problems(found)
    print("\n".join(wrong) or f"tensor_cores: {len(found)} kernels looked at")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
