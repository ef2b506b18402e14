#!/usr/bin/env python3
"""strata-simulate: the same bytes each time, traces that come back, clear errors."""

import csv
import pathlib
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

from server_process import BIN

SMALL = ("--model", "llama3-8b", "--hardware", "1xH200", "--requests", "200", "--rate", "40",
         "--tenants", "3,1", "--prefixes", "4", "--prefix-tokens", "64", "--prefix-share", "0.5")


def simulate(*args):
    return subprocess.run([BIN / "strata-simulate", *args], capture_output=True, text=True,
                          check=False)


class Simulate(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_into(self, name, *args):
        result = simulate("run", *args, "--output", self.folder / name)
        self.assertEqual(result.returncode, 0, result.stderr)
        files = {path.name: path.read_text() for path in (self.folder / name).iterdir()}
        self.assertEqual(sorted(files), ["intervals.csv", "requests.csv", "timeline.svg"])
        return result.stdout, files

    def test_same_seed_same_bytes(self):
        first = self.run_into("first", *SMALL)
        self.assertEqual(self.run_into("second", *SMALL), first)
        self.assertNotEqual(self.run_into("third", *SMALL, "--seed", "2"), first)

    def test_files_are_well_formed(self):
        text, files = self.run_into("run", *SMALL, "--speculation", "fixed", "--exit-layer", "4",
                                    "--num-draft-tokens", "2")
        self.assertIn("200 of 200", text)
        requests = list(csv.DictReader(files["requests.csv"].splitlines()))
        self.assertEqual(len(requests), 200)
        self.assertEqual({row["finished"] for row in requests}, {"1"})
        self.assertGreater(sum(int(row["cached_prompt_tokens"]) for row in requests), 0)
        intervals = list(csv.DictReader(files["intervals.csv"].splitlines()))
        tokens = sum(float(row["tokens_per_s"]) * float(row["seconds"]) for row in intervals)
        self.assertAlmostEqual(tokens, sum(int(row["generated_tokens"]) for row in requests),
                               delta=0.01 * tokens)
        svg = xml.etree.ElementTree.fromstring(files["timeline.svg"])
        self.assertGreater(len(svg.findall("{*}polyline")), 10)

    def test_a_trace_runs_as_it_was_made(self):
        trace = simulate("trace", *SMALL)
        self.assertEqual(trace.returncode, 0, trace.stderr)
        path = self.folder / "trace.csv"
        path.write_text(trace.stdout)
        made = self.run_into("made", *SMALL)
        self.assertEqual(self.run_into("read", *SMALL, "--trace", path), made)

    def test_errors_are_one_line(self):
        for args, words in ((("--model", "gpt"), "llama2-70b"),
                            (("--trace", "nowhere.csv"), "nowhere.csv"),
                            (("--speculation", "fixed", "--exit-layer", "80"), "exit layer 80"),
                            (("--requests", "0"), "requests"),
                            (("--requests", "2", "--output", "/dev/null/x"), "/dev/null/x")):
            result = simulate("run", *args)
            self.assertNotEqual(result.returncode, 0, args)
            line = result.stderr.splitlines()[-1]
            self.assertRegex(line, rf"^strata-simulate: .*{words}")
            self.assertEqual(result.stdout, "")


if __name__ == "__main__":
    unittest.main()
