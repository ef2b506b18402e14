#!/usr/bin/env python3
"""Sees check_report.py pass a good report of ghz's and fail each kind of bad one."""

import json
import pathlib
import subprocess
import sys
import unittest

GOOD = {
    "count": 200,
    "rps": 51.5,
    "statusCodeDistribution": {"OK": 200},
    "errorDistribution": {},
    "latencyDistribution": [{"percentage": 50, "latency": 226_000_000}],
}


HERE = pathlib.Path(__file__).parent


def check(report, kind="unary"):
    return subprocess.run([sys.executable, "-B", HERE / "check_report.py", HERE / f"{kind}.json"],
                          input=json.dumps(report), text=True, capture_output=True, check=False)


class CheckReport(unittest.TestCase):
    def test_good_report_passes(self):
        result = check(GOOD)
        self.assertEqual(result.returncode, 0, result)
        self.assertIn("p50 226", result.stdout)

    def test_a_load_of_so_much_time_makes_any_number_of_calls(self):
        changes = {"count": 31, "statusCodeDistribution": {"OK": 31}}
        self.assertEqual(check({**GOOD, **changes}, "ramp").returncode, 0)
        self.assertEqual(check({**GOOD, **changes}, "unary").returncode, 1)
        for changes in ({"count": 0, "statusCodeDistribution": {}},
                        {"count": 31, "statusCodeDistribution": {"OK": 30, "Canceled": 1}}):
            self.assertEqual(check({**GOOD, **changes}, "ramp").returncode, 1)

    def test_each_bad_report_fails_and_says_why(self):
        for changes, words in (
                ({"count": 199, "statusCodeDistribution": {"OK": 199}}, "199 calls"),
                ({"statusCodeDistribution": {"OK": 199, "Unavailable": 1}}, "Unavailable"),
                ({"statusCodeDistribution": None}, "status codes"),
                ({"errorDistribution": {"rpc error: queue is full": 3}}, "queue is full")):
            with self.subTest(words):
                result = check({**GOOD, **changes})
                self.assertEqual(result.returncode, 1, result)
                self.assertIn(words, result.stderr)


if __name__ == "__main__":
    unittest.main()
