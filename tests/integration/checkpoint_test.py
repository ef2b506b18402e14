#!/usr/bin/env python3
"""A checkpoint that cannot be served ends the server with one clear line, before a port opens."""

import socket
import struct
import tempfile
import unittest

from checkpoint_copy import CheckpointCopy
from server_process import DEMO_MODEL, SMALL, ServerProcess, run_server

NORM = "model.norm.weight"
Q_PROJ = "model.layers.3.self_attn.q_proj.weight"
O_PROJ = "model.layers.3.self_attn.o_proj.weight"  # of the same size


def rename(header, old, new):
    header[new] = header.pop(old)


def write(copy, name, content):
    (copy.path / name).write_bytes(content)


# Name of the case: (what is done to a copy of the demo model, words that the message must have).
DAMAGES = {
    "weights cut in the middle": (
        lambda c: c.truncate_weights(10_000_000), ["model.safetensors", "damaged"]),
    "weights cut in the header": (
        lambda c: c.truncate_weights(100), ["model.safetensors", "header claims"]),
    "weights empty": (lambda c: c.truncate_weights(0), ["model.safetensors"]),
    "weights gone": (
        lambda c: c.weights.unlink(), ["neither model.safetensors nor"]),
    "header claims terabytes": (
        lambda c: c.overwrite_weights(struct.pack("<Q", 1 << 42)),
        ["model.safetensors", "4398046511104"]),
    "header is no JSON": (
        lambda c: c.overwrite_weights(struct.pack("<Q", 8) + b"garbage!"),
        ["model.safetensors", "JSON"]),
    "tensor missing": (
        lambda c: c.edit_tensors(lambda h: rename(h, NORM, "model.gnorm.weight")),
        [NORM, "missing"]),
    "tensor of wrong shape": (
        lambda c: c.edit_tensors(lambda h: h[Q_PROJ].update(shape=[128, 512])),
        [Q_PROJ, "[128, 512]"]),
    "tensor claims terabytes": (
        lambda c: c.edit_tensors(lambda h: h[Q_PROJ].update(shape=[1 << 40, 1 << 40])),
        [Q_PROJ, "overflows"]),
    "tensors overlap": (
        lambda c: c.edit_tensors(
            lambda h: h[Q_PROJ].update(data_offsets=h[O_PROJ]["data_offsets"])),
        ["overlaps"]),
    "negative offset": (
        lambda c: c.edit_tensors(lambda h: h[Q_PROJ].update(data_offsets=[-131072, 0])),
        [Q_PROJ, "-131072"]),
    "offset beyond the file": (
        lambda c: c.edit_tensors(
            lambda h: h[Q_PROJ].update(data_offsets=[1 << 40, (1 << 40) + 131072])),
        [Q_PROJ, "data offsets"]),
    "config gone": (
        lambda c: (c.path / "config.json").unlink(), ["config.json", "no such file"]),
    "config is no JSON": (
        lambda c: write(c, "config.json", b"{,}"), ["config.json", "JSON"]),
    "unknown architecture": (
        lambda c: c.edit_json("config.json", architectures=["MixtralForCausalLM"]),
        ["architectures", "MixtralForCausalLM", "LlamaForCausalLM"]),
    "config lacks a size": (
        lambda c: c.edit_json("config.json", num_hidden_layers=...), ["num_hidden_layers"]),
    "config claims terabytes": (
        lambda c: c.edit_json("config.json", intermediate_size=1 << 40), ["intermediate_size"]),
    "config disagrees with the weights": (
        lambda c: c.edit_json("config.json", num_key_value_heads=8), ["k_proj"]),
    "unsupported rope scaling": (
        lambda c: c.edit_json("config.json", rope_scaling={"rope_type": "yarn", "factor": 4.0}),
        ["rope_scaling", "yarn"]),
    "end of sequence outside the vocabulary": (
        lambda c: c.edit_json("generation_config.json", eos_token_id=4096),
        ["generation_config.json", "4096"]),
    "tokenizer gone": (
        lambda c: (c.path / "tokenizer.model").unlink(), ["tokenizer"]),
    "tokenizer damaged": (
        lambda c: write(c, "tokenizer.model", b"\x0a\xff\xff\xff\xff\x0f"), ["tokenizer.model"]),
    "tokenizer empty": (lambda c: write(c, "tokenizer.model", b""), ["tokenizer.model"]),
    "licence not accepted": (
        lambda c: write(c, "LICENSE", b"FAIR Noncommercial Research License\n"),
        ["licence", "--accept-model-license"]),
}


class CheckpointTest(unittest.TestCase):
    def assert_refused(self, model, words):
        # The port is taken: had the server come so far as to open it, it
        # would complain of that instead.
        with socket.create_server(("127.0.0.1", 0)) as taken, \
                tempfile.TemporaryDirectory() as folder:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            result = run_server("--model", model, "--listen", address, "--metrics-listen", "none",
                                "--port-file", f"{folder}/ports", *SMALL)
        self.assertEqual(result.returncode, 1, result)
        self.assertEqual(result.stdout, "")
        self.assertTrue(result.stderr.startswith("strata-server: "), result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertTrue(result.stderr.endswith("\n"), result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)

    def test_damaged_checkpoint_gives_one_clear_line_and_exit_code_1(self):
        for name, (damage, words) in DAMAGES.items():
            with self.subTest(name), CheckpointCopy() as copy:
                damage(copy)
                self.assert_refused(copy.path, words)

    def test_no_such_folder(self):
        self.assert_refused("/nonexistent/model", ["/nonexistent/model"])

    def test_file_instead_of_folder(self):
        self.assert_refused(DEMO_MODEL / "config.json", ["config.json"])

    def test_undamaged_copy_is_served(self):
        with CheckpointCopy() as copy:
            copy.edit_tensors(lambda header: None)
            with ServerProcess(model=copy.path) as server:
                self.assertIsNone(server.process.poll())

    def test_accepted_licence_is_served(self):
        with CheckpointCopy() as copy:
            write(copy, "LICENSE", b"FAIR Noncommercial Research License\n")
            with ServerProcess("--accept-model-license", "fair-noncommercial-research",
                               model=copy.path) as server:
                self.assertIsNone(server.process.poll())


if __name__ == "__main__":
    unittest.main()
