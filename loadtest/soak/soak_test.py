#!/usr/bin/env python3
"""Sees soak.py pass a good run and find each kind of leak."""

import unittest

import soak

RUN = {"failures": {}, "not_sent": 0, "succeeded": 1000, "calls": 1000}


def steady(growth_kib_per_sample=0):
    return [soak.Sample(2.0 * i, 100_000 + growth_kib_per_sample * i, 9, 5) for i in range(60)]


class Problems(unittest.TestCase):
    def find(self, samples=None, last=None, exit_rows=0, **changes):
        return soak.problems(samples or steady(), last or soak.Sample(130, 100_000, 9, 0), 9,
                             exit_rows, {**RUN, **changes})

    def test_a_good_run_passes(self):
        self.assertEqual(self.find(), [])

    def test_memory_that_settles_passes(self):
        warming_up = [soak.Sample(2.0 * i, 60_000 + 2_000 * min(i, 20), 9, 5) for i in range(60)]
        self.assertEqual(self.find(samples=warming_up), [])

    def test_each_leak_is_found(self):
        for words, arguments in (
                ("failed calls", {"failures": {"UNAVAILABLE": {"calls": 1}}}),
                ("not sent: 3", {"not_sent": 3}),
                ("no call succeeded", {"succeeded": 0}),
                ("4 KV blocks", {"last": soak.Sample(130, 100_000, 9, 4)}),
                ("2 rows", {"exit_rows": 2}),
                ("10 files", {"last": soak.Sample(130, 100_000, 10, 0)}),
                ("memory grew", {"samples": steady(growth_kib_per_sample=400)})):
            with self.subTest(words):
                found = self.find(**arguments)
                self.assertEqual(len(found), 1, found)
                self.assertIn(words, found[0])

    def test_slope_is_that_of_a_line(self):
        self.assertAlmostEqual(soak.slope(steady(growth_kib_per_sample=6)), 3)


if __name__ == "__main__":
    unittest.main()
