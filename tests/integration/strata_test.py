#!/usr/bin/env python3
"""The strata command against a real server: in pipes, as JSON, and when it goes wrong."""

import json
import pathlib
import subprocess
import tempfile
import unittest

from server_process import BIN, ServerProcess, wait_until

PROMPT = "typing import List\ndef bucket_sort(A: List):"
SEEDED = ("-n", "48", "--ignore-eos", "--seed", "7", "--temperature", "0.8")


class Strata(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(ServerProcess())

    def events(self, *arguments, **options):
        lines = self.server.strata("generate", "--json", *arguments, **options).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def assert_nothing_held(self):
        def load():
            return json.loads(self.server.strata("load", "--json").stdout)
        wait_until(lambda: load()["running_requests"] == 0, 30)
        held = load()
        for name in ("running_requests", "queued_requests", "kv_blocks_used",
                     "exit_cache_rows_used"):
            self.assertEqual(held[name], 0, held)


class Generate(Strata):
    def test_json_is_one_event_a_line_from_started_to_finished(self):
        events = self.events(*SEEDED, "--exit-layer", "8", "--num-draft-tokens", "3", PROMPT)
        self.assertIn("started", events[0])
        self.assertIn("finished", events[-1])
        deltas = [event["delta"] for event in events[1:-1]]
        self.assertEqual(sum(len(delta["token_ids"]) for delta in deltas), 48)
        usage = events[-1]["finished"]["usage"]
        self.assertEqual(usage["generated_tokens"], 48)
        self.assertEqual(usage["prompt_tokens"], events[0]["started"]["prompt_tokens"])
        self.assertEqual(len({event["request_id"] for event in events}), 1)

    def test_text_in_a_pipe_is_the_answer_and_nothing_else(self):
        text = self.server.strata("generate", *SEEDED, PROMPT)
        deltas = [event["delta"]["text"] for event in self.events(*SEEDED, PROMPT)
                  if "delta" in event]
        self.assertEqual(text.stdout, "".join(deltas))
        self.assertEqual(text.stderr, "")

    def test_prompt_comes_from_standard_input(self):
        from_argument = self.server.strata("generate", *SEEDED, PROMPT)
        from_input = self.server.strata("generate", *SEEDED, "-", stdin=PROMPT)
        self.assertEqual(from_input.stdout, from_argument.stdout)

    def test_speculation_does_not_change_a_seeded_answer(self):
        plain = self.server.strata("generate", *SEEDED, "--speculation", "off", PROMPT).stdout
        for exit_layer, drafts in ((2, 6), (8, 4), (15, 1)):
            drafted = self.server.strata("generate", *SEEDED, "--exit-layer", str(exit_layer),
                                         "--num-draft-tokens", str(drafts), PROMPT)
            self.assertEqual(drafted.stdout, plain, (exit_layer, drafts))

    def test_a_draft_vocabulary_does_not_change_a_seeded_answer(self):
        ids = self.server.strata("tokenize", "--no-special-tokens", PROMPT).stdout.split()
        with tempfile.TemporaryDirectory() as folder:
            counts = pathlib.Path(folder) / "counts"
            counts.write_text("".join(f"{id} {ids.count(id)}\n" for id in set(ids)))
            with ServerProcess("--draft-vocabulary", "256", "--draft-token-counts",
                               counts) as trimmed:
                actual = trimmed.strata("generate", *SEEDED, PROMPT).stdout
        self.assertEqual(actual, self.server.strata("generate", *SEEDED, PROMPT).stdout)

    def test_drafts_are_coloured_only_where_asked_or_on_a_terminal(self):
        flags = (*SEEDED, "--exit-layer", "8", "--show-drafts", PROMPT)
        self.assertNotIn("\033[", self.server.strata("generate", *flags).stdout)
        self.assertIn("\033[", self.server.strata("generate", "--color", "always", *flags).stdout)

    def test_closed_pipe_and_killed_client_leave_nothing_behind(self):
        flags = ("-n", "1900", "--ignore-eos", "--json", PROMPT)
        reader_gone = self.server.start_strata("generate", *flags)
        reader_gone.stdout.readline()
        reader_gone.stdout.close()
        reader_gone.wait(timeout=30)
        self.assertNotIn("terminate", reader_gone.stderr.read())
        reader_gone.stderr.close()
        killed = self.server.start_strata("generate", *flags)
        killed.stdout.readline()
        killed.kill()
        killed.communicate(timeout=30)
        self.assert_nothing_held()


class OtherCommands(Strata):
    def test_info(self):
        info = json.loads(self.server.strata("info", "--json").stdout)
        self.assertEqual((info["name"], info["num_layers"], info["vocab_size"]), ("demo", 16, 4096))
        self.assertIn("demo", self.server.strata("info").stdout)

    def test_load(self):
        load = json.loads(self.server.strata("load", "--json").stdout)
        self.assertGreater(load["kv_blocks_total"], 0)
        self.assertIn(str(load["kv_blocks_total"]), self.server.strata("load").stdout)

    def test_score(self):
        lines = self.server.strata("score", "--json", "import", " os", " zzz").stdout.splitlines()
        likely, unlikely = (json.loads(line) for line in lines)
        self.assertAlmostEqual(sum(likely["logprobs"]), likely["total"], places=3)
        self.assertGreater(likely["total"], unlikely["total"])

    def test_compare_shows_the_same_answer_twice(self):
        result = json.loads(self.server.strata("compare", "--json", "-n", "32").stdout)
        self.assertTrue(result["outputs_identical"])
        self.assertEqual(result["autoregressive"]["tokens"], 32)
        self.assertEqual(result["self_speculative"]["tokens"], 32)
        self.assertGreater(result["self_speculative"]["drafted_tokens"], 0)


class Failures(Strata):
    def test_server_refusal_names_the_field(self):
        for flags, field in ((("--top-p", "2"), "sampling.top_p"),
                             (("--temperature", "nan"), "sampling.temperature"),
                             (("--exit-layer", "99"), "exit_layer")):
            with self.subTest(field):
                result = self.server.strata("generate", *flags, "x", check=False)
                self.assertEqual(result.returncode, 1, result)
                self.assertEqual(result.stdout, "")
                self.assertIn("INVALID_ARGUMENT", result.stderr)
                self.assertIn(field, result.stderr)
        self.assertEqual(self.server.strata("generate", "-n", "1", "x").returncode, 0)

    def test_wrong_usage_is_exit_code_2(self):
        for arguments in ((), ("bogus",), ("generate",), ("generate", "--bogus", "x")):
            with self.subTest(arguments):
                result = subprocess.run([BIN / "strata", *arguments], capture_output=True,
                                        text=True, check=False)
                self.assertEqual(result.returncode, 2, result)
                self.assertEqual(result.stdout, "")

    def test_no_server_says_so(self):
        result = subprocess.run([BIN / "strata", "info", "--server", "127.0.0.1:1"],
                                capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 1, result)
        self.assertIn("UNAVAILABLE", result.stderr)
        self.assertIn("127.0.0.1:1", result.stderr)


if __name__ == "__main__":
    unittest.main()
