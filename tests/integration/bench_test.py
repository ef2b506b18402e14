#!/usr/bin/env python3
"""strata-bench on a tiny checkpoint: every group reports its rows. No speed is asserted."""

import json
import subprocess
import unittest

from server_process import BIN, ROOT

TINY = ROOT / "tests/goldens/models/tiny-llama3"
QUICK = ("--threads", "1", "--repeat", "1", "--tokens", "4", "--batch-sizes", "1,3",
         "--contexts", "64,8192", "--prefill-tokens", "32,8192", "--draft-tokens", "2")


def run_bench(*args):
    return subprocess.run([BIN / "strata-bench", *args], capture_output=True, text=True,
                          check=False)


class Bench(unittest.TestCase):
    def test_every_group_reports(self):
        result = run_bench("--model", TINY, "--json", *QUICK)
        self.assertEqual(result.returncode, 0, result.stderr)
        report = json.loads(result.stdout)
        rows = {row["name"]: row for row in report["results"]}
        self.assertEqual(list(rows), [
            "start_up", "prefill_32", "decode_1", "decode_3", "decode_ctx_64",
            "speculative_e1_k2", "speculative_e3_k2", "speculative_auto",
            "memory_resident", "memory_anonymous"])
        for row in rows.values():
            self.assertGreater(row["value"], 0, row)
        for name in ("prefill_32", "decode_1", "decode_3", "decode_ctx_64"):
            self.assertIn(rows[name]["bound"], ("read", "dot"))
            self.assertGreater(rows[name]["read_gb_s"], 0)
            self.assertAlmostEqual(rows[name]["fraction"],
                                   rows[name]["value"] / rows[name]["limit"])

    def test_only_runs_what_is_asked_for(self):
        result = run_bench("--model", TINY, "--only", "memory", *QUICK)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("\nmemory_resident", result.stdout)
        self.assertNotIn("decode_1", result.stdout)

    def test_policy_compares_auto_with_off_and_the_grid(self):
        result = run_bench("--model", TINY, "--json", "--only", "policy", "--policy-batch-sizes",
                           "2", "--exit-layers", "1,3", *QUICK)
        self.assertEqual(result.returncode, 0, result.stderr)
        rows = json.loads(result.stdout)["results"]
        self.assertEqual([row["name"] for row in rows],
                         [f"policy_{text}_{sampling}_2" for text in ("code", "prose", "random")
                          for sampling in ("greedy", "sampled")])
        for row in rows:
            self.assertLessEqual(row["least_of_off"], row["value"] / row["off"])
            self.assertGreaterEqual(row["most_of_off"], row["value"] / row["off"])
            self.assertGreater(row["best_fixed"], 0)
            self.assertIn(row["best_name"], ("e1_k2", "e3_k2"))

    def test_errors_are_one_line(self):
        for args, words in ((("--model", "nowhere"), "nowhere"),
                            (("--model", TINY, "--only", "all"), "all"),
                            (("--model", TINY, "--only", "policy", "--exit-layers", "99", *QUICK),
                             "exit_layer")):
            result = run_bench(*args)
            self.assertNotEqual(result.returncode, 0)
            self.assertRegex(result.stderr, rf"^strata-bench: [^\n]*{words}[^\n]*\n$")


if __name__ == "__main__":
    unittest.main()
