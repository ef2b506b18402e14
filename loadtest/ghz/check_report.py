#!/usr/bin/env python3
"""Reads ghz's JSON report; fails unless all calls were made, and ended with OK.

    ghz --config CONFIGURATION --format json ... | check_report.py CONFIGURATION
"""

import json
import pathlib
import sys


def problems(report, total):
    """What is wrong with the report; empty if nothing is. total: None if it may be any number."""
    found = []
    count = report.get("count") or 0
    if count == 0 or total not in (None, count):
        found.append(f"{count} calls were made, not {total or 'any'}")
    statuses = report.get("statusCodeDistribution") or {}
    if statuses != {"OK": count}:
        found.append(f"status codes: {statuses}")
    found += [f"{count} times: {error}"
              for error, count in (report.get("errorDistribution") or {}).items()]
    return found


def summary(report):
    latencies = {entry["percentage"]: entry["latency"] / 1e6
                 for entry in report.get("latencyDistribution") or []}
    return (f"  {report.get('count')} calls, {report['rps']:.1f}/s; latency ms: p50 {latencies.get(50, 0):.0f}, "
            f"p95 {latencies.get(95, 0):.0f}, p99 {latencies.get(99, 0):.0f}")


def main():
    report = json.load(sys.stdin)
    configuration = json.loads(pathlib.Path(sys.argv[1]).read_text())
    found = problems(report, configuration.get("total"))
    print(summary(report))
    for problem in found:
        print(f"  {problem}", file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
