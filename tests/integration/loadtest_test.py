#!/usr/bin/env python3
"""strata-loadtest against the real server: its figures are the server's own."""

import csv
import json
import pathlib
import re
import subprocess
import tempfile
import unittest

from server_process import BIN, READY_SECONDS, ServerProcess, wait_until


def loadtest(*arguments):
    return subprocess.run([BIN / "strata-loadtest", *map(str, arguments)], text=True,
                          capture_output=True, timeout=READY_SECONDS, check=False,
                          stdin=subprocess.DEVNULL)


class LoadTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_figures_are_those_of_the_server(self):
        mix = self.folder / "mix.json"
        mix.write_text(json.dumps([
            {"name": "code", "weight": 2, "max_new_tokens": [4, 24],
             "request": {"text": "import os\n", "speculation": {"fixed": {"exitLayer": 2}}}},
            {"name": "ids", "prompt_tokens": [5, 60], "max_new_tokens": 8,
             "request": {"sampling": {"temperature": 0.8}, "stopping": {"ignoreEos": True}}}]))
        reports = {kind: self.folder / f"report.{kind}" for kind in ("json", "csv", "html")}
        with ServerProcess() as server:
            result = loadtest("run", "--server", server.grpc_address, "--concurrency", "1,6",
                              "--calls", 20, "--mix", mix, "--connections", 3,
                              *(part for kind, path in reports.items()
                                for part in (f"--{kind}", path)))
            self.assertEqual(result.returncode, 0, result.stderr)
            metrics = server.metrics()
            load = json.loads(server.strata("load", "--json").stdout)
        runs = json.loads(reports["json"].read_text())["runs"]
        self.assertEqual([run["load"] for run in runs], ["1 at a time", "6 at a time"])
        for run in runs:
            self.assertEqual((run["succeeded"], run["failures"]), (20, {}))
            self.assertGreater(run["ttft_ms"]["p50"], 0)
            self.assertLess(run["ttft_ms"]["p50"], run["end_to_end_ms"]["max"])
        self.assertEqual(sum(run["tokens"] for run in runs),
                         metrics["strata_generated_tokens_total"])
        with open(reports["csv"], newline="", encoding="utf-8") as file:
            calls = list(csv.DictReader(file))
        self.assertEqual(len(calls), 40)
        self.assertEqual({call["entry"] for call in calls}, {"code", "ids"})
        self.assertEqual(sum(int(call["drafted_tokens"]) for call in calls),
                         metrics["strata_spec_decode_num_draft_tokens_total"])
        self.assertIn("<svg", reports["html"].read_text())
        self.assertEqual(load.get("runningRequests", 0), 0)

    def test_cancelled_calls_leave_nothing_behind(self):
        with ServerProcess() as server:
            result = loadtest("run", "--server", server.grpc_address, "--concurrency", 8,
                              "--calls", 64, "--cancel", 1, "--max-new-tokens", 200)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertTrue(wait_until(lambda: server.metrics()["strata_kv_blocks_used"] == 0, 10))

    def test_a_full_queue_is_a_result(self):
        with ServerProcess("--max-sequences", "1", "--max-queue", "1") as server:
            report = self.folder / "report.json"
            result = loadtest("run", "--server", server.grpc_address, "--concurrency", 8,
                              "--calls", 40, "--json", report)
            self.assertEqual(result.returncode, 0, result.stderr)
            failures = json.loads(report.read_text())["runs"][0]["failures"]
            self.assertGreater(failures["RESOURCE_EXHAUSTED"]["calls"], 0)
            self.assertRegex(result.stdout, re.compile("RESOURCE_EXHAUSTED: the queue is full"))

    def test_without_a_server_it_says_so(self):
        result = loadtest("run", "--server", "127.0.0.1:1", "--concurrency", 1)
        self.assertEqual(result.returncode, 1)
        self.assertIn("strata-loadtest: ", result.stderr)


if __name__ == "__main__":
    unittest.main()
