#!/usr/bin/env python3
"""The arithmetic of overhead.py."""

import unittest

import overhead

CALL = {"code": "OK", "tokens": "101", "first_token_s": "1.5", "last_token_s": "3.5"}


class Overhead(unittest.TestCase):
    def test_a_stream_counts_from_its_first_token(self):
        self.assertEqual(overhead.stream_rates([CALL, {**CALL, "last_token_s": "2.5"}]), [50, 100])

    def test_a_failed_call_is_no_figure(self):
        with self.assertRaises(SystemExit):
            overhead.stream_rates([CALL, {**CALL, "code": "UNAVAILABLE"}])

    def test_rounds_are_compared_each_by_itself(self):
        pairs = [(100, 90), (200, 190), (1000, 960)]
        self.assertAlmostEqual(overhead.ratio(pairs), 0.95)
        text = overhead.table(pairs, streams=16)
        self.assertIn("| 1 | 100 | 90 | 0.900 |", text)
        self.assertIn("| median | 200 | 190 | 0.950 |", text)
        self.assertIn("80.000 ms, and 84.211 ms", text)


if __name__ == "__main__":
    unittest.main()
