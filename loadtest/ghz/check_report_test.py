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


def check(report):
    program = pathlib.Path(__file__).with_name("check_report.py")
    return subprocess.run([sys.executable, "-B", program, "200"], input=json.dumps(report),
                          text=True, capture_output=True, check=False)


class CheckReport(unittest.TestCase):
    def test_good_report_passes(self):
        result = check(GOOD)
        self.assertEqual(result.returncode, 0, result)
        self.assertIn("p50 226", result.stdout)

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
