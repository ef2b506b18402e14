#!/usr/bin/env python3
"""Compares strata-bench with llama.cpp, OpenVINO GenAI, vLLM and transformers on one checkpoint.

Every engine gets the same weights, threads and work. In each repetition all engines do a work one
after the other, so that a drift of the machine's speed hits them alike; medians count. An engine
that cannot be installed, or cannot do something, is left out with a line of words. Writes
results.md, results.json and results.svg into --out.
"""

import argparse
import os
import pathlib
import platform
import signal
import sys
import time
from collections.abc import Callable

import chart
import contenders
import environments
import results

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
WORKS = "decode_1,decode_4,decode_8,decode_16,prefill_512"
PAUSE_SECONDS = 0.3  # for the last engine's threads to fall asleep


def works_of(text: str) -> list[contenders.Work]:
    try:
        return [contenders.parse_work(name) for name in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def chosen_from(choices: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        for name in text.split(","):
            if name not in choices:
                raise argparse.ArgumentTypeError(f"{name}: not one of {', '.join(choices)}")
        return text.split(",")
    return parse


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True, help="Hugging Face folder")
    parser.add_argument("--bench", type=pathlib.Path,
                        default=ROOT / "build/release/bin/strata-bench")
    for flag, choices in (("--engines", contenders.ENGINES), ("--formats", contenders.FORMATS)):
        parser.add_argument(flag, default=",".join(choices), type=chosen_from(choices),
                            help="default %(default)s")
    parser.add_argument("--works", default=WORKS, type=works_of,
                        help=f"default {WORKS}; also speculative_eE_kK")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tokens", type=int, default=64, help="generated per sequence")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--cache", type=pathlib.Path, default=CACHE / "strata/peers",
                        help="environments and converted checkpoints (default %(default)s)")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("peers"),
                        help="folder of the results (default ./peers)")
    return parser.parse_args()


class Comparison:
    def __init__(self, setting: contenders.Setting, works: list[contenders.Work],
                 found: results.Results) -> None:
        self._setting = setting
        self._works = works
        self._found = found

    def _skip(self, words: str) -> None:
        print(f"  skipped: {words}", file=sys.stderr, flush=True)
        self._found.skipped.append(words)

    def _open(self, engines: list[str], weights: str) -> list[contenders.Strata | contenders.Peer]:
        opened = []
        for name in engines:
            print(f"  loading {name} {weights}", file=sys.stderr, flush=True)
            try:
                opened.append(contenders.open_contender(name, self._setting, weights))
            except (contenders.Unable, environments.InstallError) as error:
                self._skip(f"{name} {weights}: {error}")
        return opened

    def run(self, engines: list[str], weights: str, repeat: int) -> None:
        opened = self._open(engines, weights)
        unable: set[tuple[str, str]] = set()
        try:
            for repetition in range(repeat):
                for work in self._works:
                    # Another one begins each time.
                    first = repetition % max(1, len(opened))
                    for contender in opened[first:] + opened[:first]:
                        if (contender.name, work.name) not in unable:
                            if not self._measure(contender, weights, work):
                                unable.add((contender.name, work.name))
        finally:
            for contender in opened:
                contender.close()

    def _measure(self, contender: contenders.Strata | contenders.Peer, weights: str,
                 work: contenders.Work) -> bool:
        time.sleep(PAUSE_SECONDS)
        try:
            answer = contender.measure(work)
        except contenders.Unable as error:
            self._skip(f"{contender.name} {weights} {work.name}: {error}")
            return False
        print(f"  {weights} {work.name} {contender.name}: {answer['tokens_per_second']:.1f}",
              file=sys.stderr, flush=True)
        self._found.add(weights, work.name, contender.name, answer)
        return True


def write(found: results.Results, out: pathlib.Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(found.to_json())
    (out / "results.md").write_text(results.to_markdown(found))
    (out / "results.svg").write_text(chart.to_svg(found))
    print(results.to_markdown(found), end="")


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was measured is still written
    args = arguments()
    works = args.works
    setting = contenders.Setting(
        model=args.model, bench=args.bench, cache=args.cache.resolve(), threads=args.threads,
        new_tokens=args.tokens, max_sequences=max(work.sequences for work in works),
        max_context=max([work.tokens + 1 for work in works] +
                        [contenders.PROMPT_TOKENS + args.tokens + 16]))
    found = results.Results(about={
        "model": args.model.resolve().name, "threads": args.threads, "tokens": args.tokens,
        "repetitions": args.repeat, "machine": f"{platform.machine()}, {os.cpu_count()} cores"})
    comparison = Comparison(setting, works, found)
    try:
        for weights in args.formats:
            comparison.run(args.engines, weights, args.repeat)
    finally:
        write(found, args.out)


if __name__ == "__main__":
    main()
