"""What was measured, and how it is written down: JSON, and a Markdown table."""

import dataclasses
import json
import statistics
from typing import Any


@dataclasses.dataclass
class Results:
    """Tokens per second of every repetition, by format, work and engine."""

    about: dict[str, Any]  # model, machine, threads, ...
    runs: dict[str, dict[str, dict[str, list[float]]]] = dataclasses.field(default_factory=dict)
    # Of self-speculative works, over the engine's own autoregressive decoding.
    speedups: dict[str, dict[str, dict[str, list[float]]]] = dataclasses.field(
        default_factory=dict)
    # Strata's rows in full: they have the machine's limits beside them.
    strata_rows: dict[str, dict[str, list[dict[str, Any]]]] = dataclasses.field(
        default_factory=dict)
    skipped: list[str] = dataclasses.field(default_factory=list)  # one line of words each

    def add(self, weights: str, work: str, engine: str, answer: dict[str, Any]) -> None:
        for kept, figure in ((self.runs, "tokens_per_second"), (self.speedups, "speedup")):
            if figure in answer:
                engines = kept.setdefault(weights, {}).setdefault(work, {})
                engines.setdefault(engine, []).append(answer[figure])
        if "limit" in answer:
            self.strata_rows.setdefault(weights, {}).setdefault(work, []).append(answer)

    def engines(self) -> list[str]:
        found = {engine: None for works in self.runs.values() for engines in works.values()
                 for engine in engines}
        return sorted(found, key=lambda engine: (engine != "strata", engine))

    def median(self, weights: str, work: str, engine: str) -> float | None:
        values = self.runs.get(weights, {}).get(work, {}).get(engine)
        return statistics.median(values) if values else None

    def limit(self, weights: str, work: str) -> float | None:
        rows = self.strata_rows.get(weights, {}).get(work)
        return statistics.median(row["limit"] for row in rows) if rows else None

    def read_gb_s(self, weights: str, work: str) -> float | None:
        rows = [row for row in self.strata_rows.get(weights, {}).get(work, [])
                if "read_gb_s" in row]
        return statistics.median(row["read_gb_s"] for row in rows) if rows else None

    def over_best_peer(self, weights: str, work: str) -> float | None:
        ours = self.median(weights, work, "strata")
        peers = [self.median(weights, work, engine) for engine in self.engines()
                 if engine != "strata"]
        best = max((value for value in peers if value is not None), default=None)
        return ours / best if ours is not None and best is not None else None

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def speedup_table(results: Results, engines: list[str]) -> list[str]:
    if not results.speedups:
        return []
    lines = ["", "Self-speculative over the engine's own autoregressive decoding, medians.", "",
             "| weights | work | " + " | ".join(engines) + " |",
             "|---|---|" + "---:|" * len(engines)]
    for weights, works in results.speedups.items():
        for work, found in works.items():
            cells = [number(statistics.median(found[engine]), 2) if engine in found else ""
                     for engine in engines]
            lines.append("| " + " | ".join([weights, work, *cells]) + " |")
    return lines


def to_markdown(results: Results) -> str:
    engines = results.engines()
    lines = ["Tokens per second, medians. " +
             ", ".join(f"{key} {value}" for key, value in results.about.items()) + ".", ""]
    header = ["weights", "work", *engines, "strata / best peer", "limit", "GB/s"]
    lines.append("| " + " | ".join(header) + " |")
    lines.append("|---|---|" + "---:|" * (len(header) - 2))
    for weights, works in results.runs.items():
        for work in works:
            cells = [weights, work,
                     *(number(results.median(weights, work, engine)) for engine in engines),
                     number(results.over_best_peer(weights, work), 2),
                     number(results.limit(weights, work)),
                     number(results.read_gb_s(weights, work))]
            lines.append("| " + " | ".join(cells) + " |")
    lines += speedup_table(results, engines)
    if results.skipped:
        lines += ["", *(f"- {line}" for line in results.skipped)]
    return "\n".join(lines) + "\n"
