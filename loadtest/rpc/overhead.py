#!/usr/bin/env python3
"""Compares tokens per second through gRPC with the engine's alone, in turns, in one run.

    overhead.py [--model DIR] [--streams 16] [--tokens 512] [--rounds 5] [--at-least R] [FLAGS]

Each round decodes the same number of greedy sequences twice: by strata-bench, which has the engine
in its process, and by strata-server, with strata-loadtest as its client on this machine. It prints
both, and the median of the rounds' ratios; with --at-least it fails if that is lower. Server and
client share the cores with the engine, as they would with a client on the same machine.
FLAGS go to both strata-bench and strata-server: --dtype, --threads.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "loadtest"), str(ROOT / "tests/integration")]

from load_process import run_load  # noqa: E402
from server_process import BIN, DEMO_MODEL, ServerProcess  # noqa: E402

PROMPT_TOKENS = 16  # strata-bench's
WARM_UP_TOKENS = 32


def engine_rate(arguments):
    """Tokens per second that strata-bench decodes."""
    report = json.loads(subprocess.run(
        [BIN / "strata-bench", "--model", arguments.model, "--only", "decode", "--batch-sizes",
         str(arguments.streams), "--tokens", str(arguments.tokens), "--repeat", "1", "--json",
         *arguments.flags], check=True, capture_output=True, text=True).stdout)
    return report["results"][0]["value"]


def stream_rates(calls):
    """What each call of a report decoded, in tokens per second after its first token."""
    for call in calls:
        if call["code"] != "OK":
            raise SystemExit(f"overhead.py: a call ended with {call['code']}")
    return [(int(call["tokens"]) - 1) / (float(call["last_token_s"]) - float(call["first_token_s"]))
            for call in calls]


def grpc_rate(arguments, server, tokens):
    """Tokens per second of all streams at once: the sum of their own."""
    mix = [{"name": "decode", "prompt_tokens": PROMPT_TOKENS, "max_new_tokens": tokens,
            "request": {"sampling": {"temperature": 0}, "stopping": {"ignoreEos": True},
                        "speculation": {"off": {}}}}]
    run = run_load(server, mix, "--concurrency", arguments.streams, "--calls", arguments.streams)
    return sum(stream_rates(run["rows"]))


def compare(arguments):
    """A pair (engine alone, through gRPC) a round."""
    with ServerProcess(*arguments.flags, model=arguments.model) as server:
        grpc_rate(arguments, server, WARM_UP_TOKENS)
        return [(engine_rate(arguments), grpc_rate(arguments, server, arguments.tokens))
                for _ in range(arguments.rounds)]


def table(pairs, streams):
    lines = ["| round | engine alone, tokens/s | through gRPC | of it |", "|---:|---:|---:|---:|"]
    lines += [f"| {i} | {engine:.0f} | {grpc:.0f} | {grpc / engine:.3f} |"
              for i, (engine, grpc) in enumerate(pairs, 1)]
    engine, grpc = (statistics.median(rates) for rates in zip(*pairs))
    lines.append(f"| median | {engine:.0f} | {grpc:.0f} | {ratio(pairs):.3f} |")
    lines += ["", f"A token of each stream takes {1e3 * streams / engine:.3f} ms, and "
                  f"{1e3 * streams / grpc:.3f} ms through gRPC."]
    return "\n".join(lines)


def ratio(pairs):
    return statistics.median(grpc / engine for engine, grpc in pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEMO_MODEL)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-least", type=float, default=0)
    arguments, arguments.flags = parser.parse_known_args()
    pairs = compare(arguments)
    print(table(pairs, arguments.streams))
    if ratio(pairs) < arguments.at_least:
        sys.exit(f"overhead.py: less than {arguments.at_least} of the engine alone")


if __name__ == "__main__":
    main()
