#!/usr/bin/env python3
"""Loads a server of models/demo for long, at a share of what it can take, and looks for leaks.

    soak.py [--minutes 30] [--load 0.8] [--cancel 0.1] [--out FOLDER] [FLAGS]

First it measures how many calls a second the server can take; then it sends the share of them,
some of which are cancelled halfway, and watches the server's memory, open files and KV blocks.
It fails if a call fails, if a block, a row of the exit cache or a file is left over, or if memory
grows. FOLDER gets samples.csv, load.html and soak.md. FLAGS go to strata-server.
"""

import argparse
import csv
import dataclasses
import os
import pathlib
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "loadtest"), str(ROOT / "tests/integration")]

from load_process import LoadProcess, run_load  # noqa: E402
from server_process import SLOWDOWN, ServerProcess  # noqa: E402

MIX = [
    {"name": "code", "weight": 3, "prompt_tokens": [4, 200], "max_new_tokens": [4, 96]},
    {"name": "drafted", "weight": 3, "max_new_tokens": [16, 64],
     "request": {"text": "import os\n", "speculation": {"fixed": {"exitLayer": 4}}}},
    {"name": "sampled", "weight": 2, "max_new_tokens": [16, 64],
     "request": {"text": "def read(path):\n", "sampling": {"temperature": 0.8, "topP": 0.9},
                 "output": {"logprobs": 2}}},
    {"name": "samples", "weight": 1, "max_new_tokens": 16,
     "request": {"text": "class Queue:\n", "sampling": {"temperature": 1, "numSamples": 3}}},
]
CONNECTIONS = ("--connections", 8)
CAPACITY_SECONDS = 8
SAMPLE_SECONDS = 2
# A leak of one KV block's bookkeeping per request would be many times more.
MAX_GROWTH_KIB_PER_1000_CALLS = 64
# The allocator's own ups and downs.
NOISE_KIB = 8 * 1024


@dataclasses.dataclass
class Sample:
    second: float
    rss_kib: int
    files: int
    kv_blocks: int


def rss_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def sample(server, start):
    pid = server.process.pid
    return Sample(time.monotonic() - start, rss_kib(pid), len(os.listdir(f"/proc/{pid}/fd")),
                  int(server.metrics()["strata_kv_blocks_used"]))


def slope(samples):
    """Least squares of resident memory over time, in KiB a second."""
    n = len(samples)
    mean_x = sum(s.second for s in samples) / n
    mean_y = sum(s.rss_kib for s in samples) / n
    spread = sum((s.second - mean_x) ** 2 for s in samples)
    if spread == 0:
        return 0.0
    return sum((s.second - mean_x) * (s.rss_kib - mean_y) for s in samples) / spread


def measure_capacity(server):
    """Calls a second."""
    return run_load(server, MIX, *CONNECTIONS, "--concurrency", 32, "--duration",
                    CAPACITY_SECONDS * SLOWDOWN, "--warmup", 2 * SLOWDOWN)["calls_per_s"]


def idle_sample(server, start, files_before):
    """After the load, once what it left is gone, or has had time to go."""
    deadline = time.monotonic() + 10 * SLOWDOWN
    while True:
        last = sample(server, start)
        settled = last.kv_blocks == 0 and last.files <= files_before
        if settled or time.monotonic() > deadline:
            return last
        time.sleep(0.1)


def problems(samples, last, files_before, exit_rows, run):
    """What is wrong; empty if nothing is."""
    found = []
    if run["failures"] or run["not_sent"]:
        found.append(f"failed calls: {run['failures']}, not sent: {run['not_sent']}")
    if run["succeeded"] == 0:
        found.append("no call succeeded")
    if last.kv_blocks:
        found.append(f"{last.kv_blocks} KV blocks are still in use")
    if exit_rows:
        found.append(f"{exit_rows:.0f} rows of the exit cache are still in use")
    if last.files > files_before:
        found.append(f"{last.files} files are open, {files_before} were before")
    steady = samples[len(samples) // 3:]
    growth = slope(steady) * (steady[-1].second - steady[0].second)
    allowed = NOISE_KIB + MAX_GROWTH_KIB_PER_1000_CALLS * run["calls"] / 1000
    if growth > allowed:
        found.append(f"memory grew by {growth:.0f} KiB, more than {allowed:.0f}")
    return found


def write_report(folder, arguments, capacity, samples, last, run, found):
    with open(folder / "samples.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in dataclasses.fields(Sample)])
        writer.writerows(dataclasses.astuple(s) for s in samples)
    steady = samples[len(samples) // 3:]
    rows = [
        ("minutes", f"{arguments.minutes:g}"),
        ("calls/s: capacity, offered", f"{capacity:.1f}, {run['offered_calls_per_s']:.1f}"),
        ("calls", f"{run['calls']}, of which {run['cancelled']} were cancelled"),
        ("failed", f"{run['calls'] - run['succeeded']}"),
        ("tokens/s", f"{run['tokens_per_s']:.0f}"),
        ("TTFT p50, p99", f"{run['ttft_ms']['p50']:.1f} ms, {run['ttft_ms']['p99']:.1f} ms"),
        ("ITL p50, p99", f"{run['itl_ms']['p50']:.1f} ms, {run['itl_ms']['p99']:.1f} ms"),
        ("resident memory: first, last", f"{samples[0].rss_kib // 1024} MiB, "
                                         f"{samples[-1].rss_kib // 1024} MiB"),
        ("its slope after the first third", f"{slope(steady) * 60:.1f} KiB a minute"),
        ("open files at the end", f"{last.files}"),
        ("KV blocks in use at the end", f"{last.kv_blocks}"),
    ]
    table = "".join(f"| {name} | {value} |\n" for name, value in rows)
    verdict = "".join(f"- {problem}\n" for problem in found) or "Nothing is wrong.\n"
    (folder / "soak.md").write_text(f"| | |\n|---|---|\n{table}\n{verdict}")
    print(table + verdict, end="")


def soak(arguments, folder):
    with ServerProcess(*arguments.flags) as server:
        capacity = measure_capacity(server)
        start = time.monotonic()
        files_before = idle_sample(server, start, sys.maxsize).files
        mix = [{**entry, "cancel": arguments.cancel} for entry in MIX]
        load = LoadProcess(server, mix, *CONNECTIONS, "--rate", arguments.load * capacity,
                           "--duration", arguments.minutes * 60, "--html", folder / "load.html")
        samples = []
        while load.running:
            samples.append(sample(server, start))
            time.sleep(SAMPLE_SECONDS)
        last = idle_sample(server, start, files_before)
        exit_rows = server.metrics()["strata_exit_cache_rows_used"]
        server.terminate()
        if server.wait() != 0:
            raise AssertionError(f"the server ended badly:\n{server.stderr}")
    run = load.finish()
    found = problems(samples, last, files_before, exit_rows, run)
    write_report(folder, arguments, capacity, samples, last, run, found)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--load", type=float, default=0.8, help="share of the capacity")
    parser.add_argument("--cancel", type=float, default=0.1, help="share of calls cancelled")
    parser.add_argument("--out", type=pathlib.Path)
    arguments, arguments.flags = parser.parse_known_args()
    if arguments.out is None:
        with tempfile.TemporaryDirectory() as folder:
            return 1 if soak(arguments, pathlib.Path(folder)) else 0
    arguments.out.mkdir(parents=True, exist_ok=True)
    return 1 if soak(arguments, arguments.out) else 0


if __name__ == "__main__":
    sys.exit(main())
