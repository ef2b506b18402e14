#!/usr/bin/env python3
"""Measures on a real server what the scheduler promises: waiting, sharing, and shares.

    scheduling.py [--only PART[,PART]] [--model DIR] [--rounds 5] [FLAGS]

long-prompt    16 streams decode when a prompt of 6,000 tokens arrives: the time between their
               tokens against the time that one chunk of such a prompt takes alone
shared-prefix  32 prompts that begin with the same 1,000 tokens, one after another and all at
               once: what is computed of them, and the time to their first tokens
tenants        one tenant keeps 160 calls open, another one 60, both more than their share: what each
               is given; and the time to the first token of one who calls now and then, beside such
               a tenant and alone

Each part is a table of medians over the rounds. The model is models/demo, as if it had a context
of 8,192 positions. FLAGS go to strata-server: --dtype, --speculation.
"""

import argparse
import contextlib
import hashlib
import pathlib
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "loadtest"), str(ROOT / "tests/integration")]

from checkpoint_copy import CheckpointCopy  # noqa: E402
from load_process import LoadProcess, run_load  # noqa: E402
from server_process import ServerProcess, wait_until  # noqa: E402

CHUNK_TOKENS = 512  # the server's --max-batch-tokens
LONG_PROMPT_TOKENS = 6000
STREAMS = 16
STREAM_TOKENS = 600
PREFIX_TOKENS = 1000
OWN_TOKENS = 12
SHARERS = 32
KV_BLOCK_TOKENS = 16
KV_CACHE = ("--kv-cache-memory", "1GiB")
HEAVY_CALLS, LIGHT_CALLS = 160, 60  # of which the server runs 64 at once
SHARE_SECONDS = 10


def all_succeeded(run):
    if run["succeeded"] != run["calls"]:
        raise SystemExit(f"scheduling.py: calls failed: {run['failures']}")
    return run


def load(server, mix, *arguments):
    return all_succeeded(run_load(server, [mix], *arguments))


def prompt(tokens, new_tokens, **more):
    return {"prompt_tokens": tokens, "max_new_tokens": new_tokens,
            "request": {"sampling": {"temperature": 0}, "stopping": {"ignoreEos": True}}, **more}


def once(seed):
    return "--concurrency", 1, "--calls", 1, "--seed", seed


def ttft_ms(row):
    return 1e3 * (float(row["first_token_s"]) - float(row["sent_s"]))


def medians(rows):
    return [statistics.median(column) for column in zip(*rows)]


# ---- A long prompt among streams

def long_prompt_round(server, seed):
    """(ms of a chunk alone, ITL p50, p99 and maximum beside the prompt, its TTFT alone, beside)"""
    long = prompt(LONG_PROMPT_TOKENS, 1)
    alone = load(server, long, *once(2 * seed))["ttft_ms"]["p50"]
    streams = LoadProcess(server, [prompt(16, STREAM_TOKENS)], "--concurrency", STREAMS, "--calls",
                          STREAMS, "--seed", 1000 + seed)
    if not wait_until(lambda: server.metrics()["strata_running_requests"] == STREAMS, 10):
        raise SystemExit("scheduling.py: the streams do not run")
    beside = load(server, long, *once(2 * seed + 1))["ttft_ms"]["p50"]
    if not streams.running:
        raise SystemExit("scheduling.py: the streams ended before the prompt")
    itl = all_succeeded(streams.finish())["itl_ms"]
    chunks = -(-LONG_PROMPT_TOKENS // CHUNK_TOKENS)
    return alone / chunks, itl["p50"], itl["p99"], itl["max"], alone, beside


def long_prompt(model, flags, rounds, _):
    with ServerProcess(*KV_CACHE, *flags, model=model) as server:
        long_prompt_round(server, 0)
        rows = [long_prompt_round(server, i + 1) for i in range(rounds)]
    chunk, p50, p99, most, alone, beside = medians(rows)
    p99_in_chunks, most_in_chunks = medians([[row[2] / row[0], row[3] / row[0]] for row in rows])
    print(f"| {LONG_PROMPT_TOKENS}-token prompt among {STREAMS} streams | |\n|---|---:|\n"
          f"| a chunk of {CHUNK_TOKENS} alone | {chunk:.1f} ms |\n"
          f"| the streams' ITL p50 | {p50:.1f} ms |\n"
          f"| their ITL p99 | {p99:.1f} ms, {p99_in_chunks:.2f}x a chunk |\n"
          f"| their longest | {most:.1f} ms, {most_in_chunks:.2f}x a chunk |\n"
          f"| the prompt's TTFT alone, beside them | {alone:.0f} ms, {beside:.0f} ms |\n")


# ---- A prefix that prompts share

def sharers(seed, shared):
    more = {"shared_tokens": PREFIX_TOKENS} if shared else {}
    return prompt(PREFIX_TOKENS + OWN_TOKENS, 1, **more), "--calls", SHARERS, "--seed", seed


def computed_tokens(server):
    return server.metrics()["strata_prompt_tokens_total"]


def shared_prefix_round(server, seed):
    """(TTFT of the first, of the others, of a prompt of what the others compute, tokens computed by
    them one by one, all at once, TTFT p50 all at once, and without sharing)"""
    before = computed_tokens(server)
    mix, *arguments = sharers(3 * seed, True)
    rows = load(server, mix, "--concurrency", 1, *arguments)["rows"]
    one_by_one = computed_tokens(server) - before
    others = [ttft_ms(row) for row in rows[1:]]
    blocks = (PREFIX_TOKENS // KV_BLOCK_TOKENS) * KV_BLOCK_TOKENS
    short = load(server, prompt(PREFIX_TOKENS + OWN_TOKENS - blocks, 1), "--concurrency", 1,
                 "--calls", SHARERS, "--seed", 10_000 + seed)
    before = computed_tokens(server)
    mix, *arguments = sharers(3 * seed + 1, True)
    together = load(server, mix, "--concurrency", SHARERS, *arguments)
    at_once = computed_tokens(server) - before
    mix, *arguments = sharers(3 * seed + 2, False)
    apart = load(server, mix, "--concurrency", SHARERS, *arguments)
    return (ttft_ms(rows[0]), statistics.median(others), short["ttft_ms"]["p50"], one_by_one,
            at_once, together["ttft_ms"]["p50"], apart["ttft_ms"]["p50"])


def shared_prefix(model, flags, rounds, _):
    with ServerProcess(*KV_CACHE, *flags, model=model) as server:
        shared_prefix_round(server, 0)
        first, others, short, one_by_one, at_once, together, apart = medians(
            [shared_prefix_round(server, i + 1) for i in range(rounds)])
    tokens = PREFIX_TOKENS + OWN_TOKENS
    print(f"| {SHARERS} prompts of {tokens} tokens, {PREFIX_TOKENS} of them shared | |\n|---|---:|\n"
          f"| TTFT of the first | {first:.1f} ms |\n"
          f"| of those after it | {others:.1f} ms |\n"
          f"| of a prompt of the tokens that they do not find | {short:.1f} ms |\n"
          f"| computed, one after another | {one_by_one:.0f} of {SHARERS * tokens} |\n"
          f"| computed, all at once | {at_once:.0f} |\n"
          f"| TTFT p50, all at once | {together:.1f} ms |\n"
          f"| the same with nothing shared | {apart:.1f} ms |\n")


# ---- Tenants

@contextlib.contextmanager
def tenants_server(model, flags, folder):
    """A server that knows the tenants "heavy" and "light", by the token that is each one's name."""
    text = ""
    for name in ("heavy", "light"):
        (folder / name).write_text(name)
        digest = hashlib.sha256(name.encode()).hexdigest()
        text += (f'[[tenant]]\nname = "{name}"\n[[tenant.token]]\nname = "{name}"\n'
                 f'sha256 = "{digest}"\n')
    credentials = folder / "credentials.toml"
    credentials.write_text(text)
    with ServerProcess("--credentials", credentials, *KV_CACHE, *flags, model=model) as server:
        yield server


def as_tenant(folder, name):
    return "--token-file", folder / name


def generated(server, tenant):
    return server.metrics().get(f'strata_tenant_generated_tokens_total{{tenant="{tenant}"}}', 0)


def shares(server, folder, seed):
    """Tokens that (heavy, light) got while both always waited."""
    mix = {"prompt_tokens": [16, 64], "max_new_tokens": [16, 64],
           "request": {"sampling": {"temperature": 0}, "stopping": {"ignoreEos": True}}}
    runs = [LoadProcess(server, [mix], "--concurrency", calls, "--duration", SHARE_SECONDS + 3,
                        "--seed", seed, *as_tenant(folder, name))
            for name, calls in (("heavy", HEAVY_CALLS), ("light", LIGHT_CALLS))]
    time.sleep(1.5)
    before = [generated(server, name) for name in ("heavy", "light")]
    time.sleep(SHARE_SECONDS)
    after = [generated(server, name) for name in ("heavy", "light")]
    for run in runs:
        all_succeeded(run.finish())
    return [last - first for first, last in zip(before, after)]


def light_ttft(server, folder, seed, rate):
    """TTFT p95 of one who calls now and then, in ms."""
    return load(server, prompt(32, 16), "--rate", rate, "--duration", SHARE_SECONDS,
                "--seed", seed, *as_tenant(folder, "light"))["ttft_ms"]["p95"]


def tenants_round(server, folder, seed):
    """(heavy's tokens, light's, light's TTFT p95 alone, beside heavy)"""
    heavy, light = shares(server, folder, seed)
    mix = prompt(32, 16)
    capacity = load(server, mix, "--concurrency", HEAVY_CALLS, "--duration", 3, "--seed",
                    seed, *as_tenant(folder, "heavy"))["calls_per_s"]
    alone = light_ttft(server, folder, seed, capacity / 10)
    heavy_calls = LoadProcess(server, [mix], "--concurrency", HEAVY_CALLS, "--duration",
                              SHARE_SECONDS + 2, "--seed", seed + 500, *as_tenant(folder, "heavy"))
    time.sleep(1)
    beside = light_ttft(server, folder, seed + 250, capacity / 10)
    all_succeeded(heavy_calls.finish())
    return heavy, light, alone, beside


def tenants(model, flags, rounds, folder):
    with tenants_server(model, flags, folder) as server:
        rows = [tenants_round(server, folder, i + 1) for i in range(rounds)]
    heavy, light, alone, beside = medians(rows)
    times = statistics.median(row[3] / row[2] for row in rows)
    print(f"| a tenant of {HEAVY_CALLS} calls beside one of {LIGHT_CALLS} | |\n"
          f"|---|---:|\n"
          f"| tokens in {SHARE_SECONDS} s: the first, the other | {heavy:.0f}, {light:.0f} |\n"
          f"| TTFT p95 at a tenth of the capacity, alone | {alone:.1f} ms |\n"
          f"| beside the tenant of {HEAVY_CALLS} | {beside:.1f} ms, {times:.2f}x |\n")


PARTS = {"long-prompt": long_prompt, "shared-prefix": shared_prefix, "tenants": tenants}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS),
                        metavar="PART[,PART]", help=", ".join(PARTS))
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    arguments, flags = parser.parse_known_args()
    unknown = set(arguments.only) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    with CheckpointCopy() as demo, tempfile.TemporaryDirectory() as folder:
        demo.edit_json("config.json", max_position_embeddings=8192)
        for part in arguments.only:
            PARTS[part](arguments.model or demo.path, flags, arguments.rounds, pathlib.Path(folder))


if __name__ == "__main__":
    main()
