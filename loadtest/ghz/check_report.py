#!/usr/bin/env python3
"""Reads ghz's JSON report; fails unless all calls of the number given ended with OK.

    ghz --format json ... | check_report.py CALLS
"""

import json
import sys


def problems(report, calls):
    """What is wrong with the report; empty if nothing is."""
    found = []
    if report.get("count") != calls:
        found.append(f"{report.get('count')} calls were made, not {calls}")
    statuses = report.get("statusCodeDistribution") or {}
    if statuses != {"OK": calls}:
        found.append(f"status codes: {statuses}")
    found += [f"{count} times: {error}"
              for error, count in (report.get("errorDistribution") or {}).items()]
    return found


def summary(report):
    latencies = {entry["percentage"]: entry["latency"] / 1e6
                 for entry in report.get("latencyDistribution") or []}
    return (f"  {report['rps']:.1f} calls/s; latency ms: p50 {latencies.get(50, 0):.0f}, "
            f"p95 {latencies.get(95, 0):.0f}, p99 {latencies.get(99, 0):.0f}")


def main():
    report = json.load(sys.stdin)
    found = problems(report, int(sys.argv[1]))
    print(summary(report))
    for problem in found:
        print(f"  {problem}", file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
