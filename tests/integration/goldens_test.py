#!/usr/bin/env python3
"""The real programs against tests/goldens, which independent software made: tokens by the
checkpoint's own tokenizer.model, and greedy answers in float32."""

import json
import unittest

from server_process import ROOT, ServerProcess

GOLDENS = ROOT / "tests/goldens"
# Where two logits are closer than this, another order of summation may choose otherwise.
MIN_MARGIN = 1e-3
NUM_TEXTS = 24
NUM_ANSWERS = 4


class Goldens(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(ServerProcess("--dtype", "f32"))

    def test_tokenizer_in_the_server_process(self):
        lines = (GOLDENS / "tokenizer_demo.jsonl").read_text().splitlines()
        for line in lines[1::len(lines) // NUM_TEXTS]:
            golden = json.loads(line)
            with self.subTest(golden["text"]):
                answer = self.server.strata("tokenize", "--json", "--no-special-tokens", "-",
                                            stdin=golden["text"])
                self.assertEqual(json.loads(answer.stdout)["token_ids"], golden["ids"])
                ids = " ".join(map(str, golden["ids"]))
                answer = self.server.strata("tokenize", "--json", "--decode", "-", stdin=ids)
                self.assertEqual(json.loads(answer.stdout)["text"], golden["decoded"])

    def test_greedy_answers(self):
        answers = json.loads((GOLDENS / "demo.json").read_text())["greedy"]
        for golden in [answer for answer in answers if answer.get("prompt")][:NUM_ANSWERS]:
            for speculation in (("--speculation", "off"),
                                ("--exit-layer", "6", "--num-draft-tokens", "4")):
                with self.subTest(golden["prompt"], speculation=speculation):
                    self.assert_greedy(golden, speculation)

    def assert_greedy(self, golden, speculation):
        count = len(golden["tokens"])
        answer = self.server.strata("generate", "--json", "--temperature", "0", "-n", str(count),
                                    *speculation, "-", stdin=golden["prompt"])
        events = [json.loads(line) for line in answer.stdout.splitlines()]
        tokens = [token for event in events for token in event.get("delta", {}).get("token_ids", [])]
        certain = next((i for i, margin in enumerate(golden["margins"]) if margin < MIN_MARGIN),
                       count)
        self.assertGreater(certain, 0)
        self.assertEqual(tokens[:certain], golden["tokens"][:certain])


if __name__ == "__main__":
    unittest.main()
