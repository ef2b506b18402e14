#!/usr/bin/env python3
"""What /metrics says, beside what the streams say of themselves."""

import json
import re
import subprocess
import unittest

from busy_server import BusyServer
from server_process import ROOT, SLOWDOWN, ServerProcess, wait_until

AT_START = """
strata_spec_decode_num_draft_tokens_total
strata_spec_decode_num_accepted_tokens_total
strata_generated_tokens_total
strata_prompt_tokens_total
strata_rounds_total
strata_preemptions_total
strata_requests_total{code="OK",method="Generate"}
strata_requests_total{code="OK",method="GenerateUnary"}
strata_requests_total{code="OK",method="Score"}
strata_time_to_first_token_seconds_count
strata_inter_token_latency_seconds_count
strata_running_requests
strata_queued_requests
strata_kv_blocks_used
""".split()

SAMPLE = r'[a-zA-Z_:][a-zA-Z0-9_:]*(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? \S+'

DOCUMENT = ROOT / "docs/METRICS.md"


def documented():
    """{name: (type, label names)} by the tables of docs/METRICS.md."""
    metrics = {}
    for name, kind, labels in re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\|",
                                         DOCUMENT.read_text(), re.MULTILINE):
        assert name not in metrics, name
        metrics[name] = kind, frozenset(re.findall(r"`(\w+)`", labels))
    return metrics


def exported(text):
    """The same by what a server exports."""
    kinds = dict(re.findall(r"^# TYPE (strata_\w+) (\w+)$", text, re.MULTILINE))
    labels = {name: set() for name in kinds}
    for series, pairs in re.findall(r"^(strata_\w+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        name = series if series in kinds else re.sub(r"_(bucket|sum|count)$", "", series)
        labels[name].update(re.findall(r'(\w+)="', pairs))
    return {name: (kind, frozenset(labels[name] - {"le"})) for name, kind in kinds.items()}


class Documentation(unittest.TestCase):
    def test_the_tables_are_what_a_loaded_server_exports(self):
        with BusyServer() as busy, busy.load(seconds=60 * SLOWDOWN):
            wait_until(lambda: exported(busy.server.metrics_text()) == documented(), 30)
            text = busy.server.metrics_text()
        self.assertEqual(set(exported(text).items()), set(documented().items()))
        ours = "".join(f"{line}\n" for line in text.splitlines()
                       if re.match(r"(# \w+ )?strata_", line))
        lint = subprocess.run(["promtool", "check", "metrics"], input=ours, text=True,
                              capture_output=True, check=False)
        self.assertEqual((lint.returncode, lint.stdout + lint.stderr), (0, ""))

    def test_tenants_sum_up_to_all(self):
        with BusyServer() as busy:
            with busy.load(seconds=60 * SLOWDOWN):
                self.assertTrue(wait_until(
                    lambda: busy.server.metrics()["strata_generated_tokens_total"] > 500, 30))

            def tokens():
                metrics = busy.server.metrics()
                parts = [value for name, value in metrics.items()
                         if name.startswith("strata_tenant_generated_tokens_total{")]
                self.assertEqual(len(parts), 2)
                return sum(parts), metrics["strata_generated_tokens_total"]

            self.assertTrue(wait_until(lambda: len(set(tokens())) == 1, 20), tokens())


class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(ServerProcess())

    def generate(self, *arguments):
        """The Finished event of one answer, which must have come to its end."""
        lines = self.server.strata("generate", "--json", *arguments).stdout.splitlines()
        return json.loads(lines[-1])["finished"]

    def test_1_everything_is_there_from_the_start_at_zero(self):
        metrics = self.server.metrics()
        for name in AT_START:
            self.assertEqual(metrics.get(name), 0, name)
        self.assertGreater(metrics["strata_kv_blocks"], 0)
        self.assertTrue(any(name.startswith('strata_build_info{') and 'model="demo"' in name
                            for name in metrics))

    def test_2_text_format_is_prometheus(self):
        for line in self.server.metrics_text().splitlines():
            self.assertRegex(line, rf"\A(# (HELP|TYPE) \S+ .*|{SAMPLE})\Z")

    def test_3_counters_equal_what_the_stream_reported(self):
        before = self.server.metrics()
        finished = self.generate("-n", "60", "--ignore-eos", "--temperature", "0", "--exit-layer",
                                 "8", "--num-draft-tokens", "4", "import os\n")
        speculation = finished["speculation"]
        self.assertGreater(speculation["accepted_tokens"], 0)
        expected = {
            "strata_generated_tokens_total": 60,
            "strata_prompt_tokens_total": finished["usage"]["prompt_tokens"],
            "strata_spec_decode_num_draft_tokens_total": speculation["drafted_tokens"],
            "strata_spec_decode_num_accepted_tokens_total": speculation["accepted_tokens"],
            'strata_requests_total{code="OK",method="Generate"}': 1,
            'strata_samples_finished_total{reason="max_tokens"}': 1,
            "strata_time_to_first_token_seconds_count": 1,
            "strata_inter_token_latency_seconds_count": 59,
        }
        for position, accepted in enumerate(speculation["accepted_per_position"]):
            if accepted:
                name = "strata_spec_decode_num_accepted_tokens_per_pos_total"
                expected[f'{name}{{position="{position}"}}'] = accepted

        def increases():
            after = self.server.metrics()
            return {name: after.get(name, 0) - before.get(name, 0) for name in expected}

        # The last counters may follow the end of the stream by a moment.
        wait_until(lambda: increases() == expected, 5)
        self.assertEqual(increases(), expected)

    def test_4_failed_calls_are_counted_by_their_code(self):
        self.server.strata("generate", "--top-p", "2", "x", check=False)
        name = 'strata_requests_total{code="INVALID_ARGUMENT",method="Generate"}'
        self.assertTrue(wait_until(lambda: self.server.metrics().get(name) == 1, 5))

    def test_5_nothing_is_held_when_idle(self):
        metrics = self.server.metrics()
        for name in ("strata_running_requests", "strata_queued_requests", "strata_kv_blocks_used",
                     "strata_exit_cache_rows_used"):
            self.assertEqual(metrics[name], 0, name)


if __name__ == "__main__":
    unittest.main()
