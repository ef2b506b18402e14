#!/usr/bin/env python3
"""What ThreadSanitizer sees of reactors: no race where gRPC promises order, and each where it does not.

    reactor_order_test.py PROGRAM     reactor_order, built with ThreadSanitizer
"""

import subprocess
import sys
import unittest

PROGRAM = sys.argv.pop(1)
REPORTED = 66  # ThreadSanitizer's exit code


def run(*arguments):
    return subprocess.run([PROGRAM, *arguments], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=600, check=False)


class ReactorOrder(unittest.TestCase):
    def test_that_is_promised_is_seen(self):
        served = run()
        self.assertEqual((served.returncode, served.stdout), (0, "served\n"), served.stderr)

    def test_that_is_not_promised_is_a_race(self):
        for mistake in ("after-write", "after-finish", "write-and-cancel"):
            with self.subTest(mistake):
                served = run(mistake)
                self.assertEqual(served.returncode, REPORTED, served.stderr)
                self.assertIn("data race", served.stderr)
                self.assertIn(" in Mistake", served.stderr)


if __name__ == "__main__":
    unittest.main()
