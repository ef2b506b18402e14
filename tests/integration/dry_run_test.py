#!/usr/bin/env python3
"""strata-server --dry-run: plans from config.json alone, for other machines and for this one."""

import json
import pathlib
import re
import tempfile
import unittest

from server_process import DEMO_MODEL, run_server

LLAMA2_70B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32000,
    "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
    "num_attention_heads": 64, "num_key_value_heads": 8, "hidden_act": "silu",
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2,
    "_name_or_path": "facebook/layerskip-llama2-70B"}


class DryRunTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="strata-dry-run-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "config.json").write_text(json.dumps(LLAMA2_70B))

    def plan(self, *flags):
        result = run_server("--model", self.folder, *flags)
        self.assertEqual((result.returncode, result.stderr), (0, ""), result)
        return result.stdout

    def test_70b_without_its_weights(self):
        text = self.plan("--dry-run", "8xA100", "--tensor-parallel", "8", "--kv-cache-memory",
                         "320GiB")
        for part in ("Weights of all ranks: 137.95 GB", "320.0 KiB a token", "1048576 tokens",
                     "of 80.00 GB"):
            self.assertIn(part, text)
        limit, expected = map(float, re.search(r"1 sequence +([\d.]+) +([\d.]+)", text).groups())
        self.assertAlmostEqual(limit, 8 * 2.039e12 / 137.43e9, delta=2)
        self.assertLess(expected, limit)
        self.assertEqual(self.plan("--dry-run", "8xA100", "--tensor-parallel", "8",
                                   "--kv-cache-memory", "320GiB", "--dtype", "f16"),
                         text.replace("bf16 weights", "f16 weights"))

    def test_what_does_not_fit(self):
        result = run_server("--model", self.folder, "--dry-run", "8xA100")
        self.assertEqual(result.returncode, 1)
        self.assertTrue(result.stderr.startswith(
            "strata-server: facebook/layerskip-llama2-70B does not fit\n"), result.stderr)

    def test_this_machine(self):
        result = run_server("--model", DEMO_MODEL, "--dry-run", "--tensor-parallel", "2")
        self.assertEqual((result.returncode, result.stderr), (0, ""), result)
        self.assertIn("demo on this machine's CPU, 2 ranks", result.stdout)

    def test_refusals(self):
        result = run_server("--model", self.folder, "--dry-run", "abacus")
        self.assertEqual(result.returncode, 2)
        self.assertIn("8xA100", result.stderr)
        result = run_server("--model", self.folder, "--dry-run", "8xA100", "--tensor-parallel",
                            "3")
        self.assertEqual(result.returncode, 1)
        self.assertIn("cannot be split over 3 ranks", result.stderr)
        result = run_server("--model", self.folder, "--dry-run", "--dtype", "f16")
        self.assertEqual(result.returncode, 1)
        self.assertIn("f16 weights are for GPUs", result.stderr)
        (self.folder / "config.json").unlink()
        result = run_server("--model", self.folder, "--dry-run", "8xA100")
        self.assertEqual(result.returncode, 1)
        self.assertIn("config.json", result.stderr)


if __name__ == "__main__":
    unittest.main()
