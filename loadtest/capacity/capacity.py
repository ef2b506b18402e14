#!/usr/bin/env python3
"""Offered load against what a server makes of it, up to three times what it can take.

    capacity.py [--model DIR] [--seconds 20] [--loads 0.25,0.5,0.75,0.9,1,1.5,3]
                [--slo-ttft-ms 1000] [--slo-token-time-ms 100] [--html FILE] [FLAGS]

First it measures how many calls a second the server answers when CONCURRENCY are always open: the
capacity. Then it offers each share of that, at random times, and prints what came of it. A call is
good if its first token came within one bound and the others, on average, within the other. At the
end it says what the greatest load leaves of the best goodput. FLAGS go to strata-server: --dtype,
--max-queue. --html keeps the report of the last load.
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "loadtest"), str(ROOT / "tests/integration")]

from load_process import run_load  # noqa: E402
from server_process import DEMO_MODEL, ServerProcess  # noqa: E402

# Chats and completions, drafted as the server likes.
MIX = [
    {"name": "chat", "weight": 2, "prompt_tokens": [32, 256], "max_new_tokens": [16, 64],
     "request": {"sampling": {"temperature": 0.8}, "stopping": {"ignoreEos": True}}},
    {"name": "code", "weight": 1, "max_new_tokens": [16, 64],
     "request": {"text": "import os\nimport sys\n\n\ndef find_files(root, suffix):\n",
                 "sampling": {"temperature": 0}, "stopping": {"ignoreEos": True}}},
]
CONCURRENCY = 64  # what the server runs at once
CONNECTIONS = ("--connections", 8)
REFUSED = "RESOURCE_EXHAUSTED"


def run(server, arguments, *load):
    return run_load(server, MIX, *CONNECTIONS, "--slo-ttft-ms", arguments.slo_ttft_ms,
                    "--slo-token-time-ms", arguments.slo_token_time_ms, "--duration",
                    arguments.seconds, *load)


def refused(run_):
    return run_["failures"].get(REFUSED, {}).get("calls", 0)


def check(run_):
    """Refusals are what overload is answered with; any other failure is one."""
    others = {code: failure for code, failure in run_["failures"].items() if code != REFUSED}
    if others or run_["not_sent"]:
        raise SystemExit(f"capacity.py: calls failed: {others}, not sent: {run_['not_sent']}")


HEADER = ("| offered, of capacity | calls/s | answered/s | good/s | refused | tokens/s | "
          "TTFT p50 / p95 / p99, ms | ITL p50 / p95 / p99, ms |\n"
          "|---:|---:|---:|---:|---:|---:|---:|---:|")


def percentiles(of):
    return " / ".join(f"{of[p]:.0f}" for p in ("p50", "p95", "p99"))


def row(load, run_):
    return (f"| {load:g} | {run_['offered_calls_per_s']:.1f} | {run_['calls_per_s']:.1f} | "
            f"{run_['good_calls_per_s']:.1f} | {refused(run_) / max(run_['calls'], 1):.0%} | "
            f"{run_['tokens_per_s']:.0f} | {percentiles(run_['ttft_ms'])} | "
            f"{percentiles(run_['itl_ms'])} |")


def kept(goodputs):
    """What the last load leaves of the best."""
    return goodputs[-1] / max(goodputs) if max(goodputs) else 0


def measure(arguments):
    with ServerProcess(*arguments.flags, model=arguments.model) as server:
        full = run(server, arguments, "--concurrency", CONCURRENCY, "--warmup", 5)
        check(full)
        capacity = full["calls_per_s"]
        print(f"Capacity: {capacity:.1f} calls/s, {full['tokens_per_s']:.0f} tokens/s.\n\n{HEADER}",
              flush=True)
        goodputs = []
        for i, load in enumerate(arguments.loads):
            last = i + 1 == len(arguments.loads)
            html = ("--html", arguments.html) if arguments.html and last else ()
            offered = run(server, arguments, "--rate", load * capacity, "--warmup", 2, "--seed",
                          i + 2, *html)
            check(offered)
            print(row(load, offered), flush=True)
            goodputs.append(offered["good_calls_per_s"])
    print(f"\nAt {arguments.loads[-1]:g} times the capacity {kept(goodputs):.2f} of the best "
          "goodput are left.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEMO_MODEL)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--loads", type=lambda text: [float(load) for load in text.split(",")],
                        default=[0.25, 0.5, 0.75, 0.9, 1, 1.5, 3])
    parser.add_argument("--slo-ttft-ms", type=float, default=1000)
    parser.add_argument("--slo-token-time-ms", type=float, default=100)
    parser.add_argument("--html", type=pathlib.Path)
    arguments, arguments.flags = parser.parse_known_args()
    measure(arguments)


if __name__ == "__main__":
    main()
