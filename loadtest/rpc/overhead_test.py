#!/usr/bin/env python3
"""The arithmetic of overhead.py."""

import unittest

import overhead

CALL = {"code": "OK", "tokens": "102", "first_tokens": "2", "first_token_s": "1.5",
        "last_token_s": "3.5"}


class Overhead(unittest.TestCase):
    def test_a_stream_counts_from_its_first_message(self):
        self.assertEqual(overhead.stream_rates([CALL, {**CALL, "last_token_s": "2.5"}]), [50, 100])

    def test_a_failed_call_is_no_figure(self):
        with self.assertRaises(SystemExit):
            overhead.stream_rates([CALL, {**CALL, "code": "UNAVAILABLE"}])

    def test_rounds_are_compared_each_by_itself(self):
        rounds = [(100, 90, 100), (200, 190, 100), (1000, 960, 900)]
        self.assertEqual(overhead.ratios(rounds), [0.95, 0.9])
        text = overhead.table(rounds, streams=16, intervals=["0ms", "5ms"])
        self.assertIn("| gRPC, 0ms between messages | of it | gRPC, 5ms between messages |", text)
        self.assertIn("| 1 | 100 | 90 | 0.900 | 100 | 1.000 |", text)
        self.assertIn("| median | 200 | 190 | 0.950 | 100 | 0.900 |", text)
        self.assertIn("80.000, 84.211, 160.000 ms", text)


if __name__ == "__main__":
    unittest.main()
