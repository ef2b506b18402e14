#!/usr/bin/env python3
"""Compares tokens per second through gRPC with the engine's alone, in turns, in one run.

    overhead.py [--model DIR] [--streams 16] [--tokens 512] [--rounds 5] [--at-least R]
                [--stream-intervals 0ms,10ms] [FLAGS]

Each round decodes the same number of greedy sequences by strata-bench, which has the engine in its
process, and by a strata-server for each --stream-interval, with strata-loadtest as its client on
this machine. It prints all of them, and the medians of the rounds' ratios; with --at-least it fails
if the best of those is lower. Server and client share the cores with the engine, as they would with
a client on the same machine.
FLAGS go to both strata-bench and strata-server: --dtype, --threads.
"""

import argparse
import contextlib
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
    """What each call of a report decoded, in tokens per second after its first message of them."""
    for call in calls:
        if call["code"] != "OK":
            raise SystemExit(f"overhead.py: a call ended with {call['code']}")
    return [(int(call["tokens"]) - int(call["first_tokens"]))
            / (float(call["last_token_s"]) - float(call["first_token_s"])) for call in calls]


def grpc_rate(arguments, server, tokens):
    """Tokens per second of all streams at once: the sum of their own."""
    mix = [{"name": "decode", "prompt_tokens": PROMPT_TOKENS, "max_new_tokens": tokens,
            "request": {"sampling": {"temperature": 0}, "stopping": {"ignoreEos": True},
                        "speculation": {"off": {}}}}]
    run = run_load(server, mix, "--concurrency", arguments.streams, "--calls", arguments.streams)
    return sum(stream_rates(run["rows"]))


def compare(arguments):
    """For each round what the engine alone decodes, and each of the servers."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(ServerProcess("--stream-interval", interval,
                                                     *arguments.flags, model=arguments.model))
                   for interval in arguments.stream_intervals]
        for server in servers:
            grpc_rate(arguments, server, WARM_UP_TOKENS)
        return [(engine_rate(arguments),
                 *(grpc_rate(arguments, server, arguments.tokens) for server in servers))
                for _ in range(arguments.rounds)]


def table(rounds, streams, intervals):
    lines = ["| round | engine alone, tokens/s |" + "".join(
                 f" gRPC, {interval} between messages | of it |" for interval in intervals),
             "|---:|---:|" + "---:|---:|" * len(intervals)]
    medians = [statistics.median(rates) for rates in zip(*rounds)]
    for name, (engine, *served) in [*enumerate(rounds, 1), ("median", medians)]:
        parts = ratios(rounds) if name == "median" else [rate / engine for rate in served]
        lines.append(f"| {name} | {engine:.0f} |" + "".join(
            f" {rate:.0f} | {part:.3f} |" for rate, part in zip(served, parts)))
    times = ", ".join(f"{1e3 * streams / rate:.3f}" for rate in medians)
    lines += ["", f"From one token of a stream to the next: {times} ms."]
    return "\n".join(lines)


def ratios(rounds):
    """Of each server: the median of the rounds, each compared by itself."""
    return [statistics.median(rates)
            for rates in zip(*([rate / engine for rate in served] for engine, *served in rounds))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEMO_MODEL)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-least", type=float, default=0)
    parser.add_argument("--stream-intervals", type=lambda text: text.split(","), default=["0ms"])
    arguments, arguments.flags = parser.parse_known_args()
    rounds = compare(arguments)
    print(table(rounds, arguments.streams, arguments.stream_intervals))
    if max(ratios(rounds)) < arguments.at_least:
        sys.exit(f"overhead.py: less than {arguments.at_least} of the engine alone")


if __name__ == "__main__":
    main()
