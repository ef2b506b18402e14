#!/usr/bin/env python3
"""Checks that nothing of ours waits by the wall clock, which may be set while we run.

    clock_rules.py [ROOT]        prints one line per violation; exit code 1 if there is one

Abseil's waits with a time limit do so by the wall clock: set back by an hour, they take an hour
longer. std::condition_variable waits by the steady clock, unless it is given another's time.
"""

import pathlib
import re
import sys

import source_files

OURS = ("kernels/", "engine/", "server/", "client/", "loadtest/", "bench/", "figures/")
WAITS = re.compile(r"\b(\w+With(Timeout|Deadline)\(|absl::(Now|SleepFor)\b)")
WALL_CLOCK = re.compile(r"\bsystem_clock\b|\bCLOCK_REALTIME\b|\bgettimeofday\b|\btime\(nullptr\)")

# Who may read the wall clock, and why.
READERS = {
    "server/authenticator.h": "tokens expire at a date",
    "server/call.cc": "audit records say when",
    "server/control_service.cc": "a trace says when it was",
    "server/credentials.h": "tokens expire at a date",
    "server/logging.h": "log lines say when",
    "server/logging.cc": "log lines say when",
    "server/metrics.h": "a certificate ends at a date",
    "server/metrics.cc": "a certificate ends at a date",
    "server/tls_files.cc": "a certificate ends at a date",
    # gRPC takes deadlines by the wall clock and makes them its own, of the steady one, at once.
    "client/client.cc": "a deadline for gRPC",
    "loadtest/generator/load_test.cc": "a report says when",
    "loadtest/generator/streaming_call.cc": "a deadline for gRPC",
    "server/orca_service.cc": "a deadline for gRPC",
    "server/server.cc": "a deadline for gRPC",
    "server/serving.cc": "a deadline of gRPC's",
}


def check(root):
    problems = []
    for path in source_files.our_files(root):
        if not path.startswith(OURS) or not path.endswith((".h", ".cc", ".cu", ".cuh")):
            continue
        for number, line in enumerate((root / path).read_text().splitlines(), 1):
            if WAITS.search(line):
                problems.append(f"{path}:{number}: waits by the wall clock; use "
                                "std::condition_variable")
            elif WALL_CLOCK.search(line) and path not in READERS:
                problems.append(f"{path}:{number}: reads the wall clock; use the steady one, or "
                                "say in clock_rules.py why not")
    return problems


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else source_files.default_root()
    found = check(root)
    print("\n".join(found) or "clocks: all as they should be")
    sys.exit(1 if found else 0)
