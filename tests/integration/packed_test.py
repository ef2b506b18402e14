#!/usr/bin/env python3
"""strata-server --save-packed, and servers that start from what it wrote."""

import pathlib
import struct
import tempfile
import unittest

from checkpoint_copy import CheckpointCopy
from server_process import DEMO_MODEL, SMALL, ServerProcess, run_server

PROMPT = ("-n", "24", "--temperature", "0", "import os\n")


def generate(*flags, model):
    with ServerProcess(*flags, model=model) as server:
        info = server.strata("info", "--json").stdout
        return server.strata("generate", *PROMPT).stdout, info


class PackedTest(unittest.TestCase):
    def setUp(self):
        self._folder = tempfile.TemporaryDirectory(prefix="strata-packed-")
        self.addCleanup(self._folder.cleanup)
        self.folder = pathlib.Path(self._folder.name)
        self.packed = self.folder / "packed"

    @property
    def weights(self):
        return self.packed / "strata-packed.safetensors"

    def save(self, *flags, model=DEMO_MODEL):
        result = run_server("--model", model, "--save-packed", self.packed, *flags)
        self.assertEqual(result.returncode, 0, result)
        self.assertEqual(result.stderr, "")
        return result.stdout

    def assert_refused(self, *flags, words, environment=None):
        result = run_server(*flags, "--listen", "127.0.0.1:0", "--metrics-listen", "none", *SMALL,
                            environment=environment)
        self.assertEqual(result.returncode, 1, result)
        self.assertEqual(result.stdout, "")
        self.assertTrue(result.stderr.startswith("strata-server: "), result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)

    def test_serves_the_same(self):
        for dtype in ("bf16", "f32", "int8", "int4"):
            with self.subTest(dtype):
                self.packed = self.folder / dtype
                said = self.save("--dtype", dtype)
                self.assertRegex(said, rf"^strata-server: wrote {self.packed}: [\d.]+ MB of "
                                 rf"weights, {dtype} panels of \d+ columns, revision \d+\n$")
                direct, _ = generate("--dtype", dtype, model=DEMO_MODEL)
                text, info = generate(model=self.packed)
                self.assertEqual(text, direct)
                self.assertIn(f'"{dtype}"', info)

    def test_another_dtype(self):
        self.save("--dtype", "int4")
        with ServerProcess("--dtype", "int4", model=self.packed):
            pass
        self.assert_refused("--model", self.packed, "--dtype", "bf16",
                            words=["packed as int4, not bf16", "leave --dtype out"])

    def test_other_kernels(self):
        result = run_server("--model", DEMO_MODEL, "--save-packed", self.packed,
                            environment={"STRATA_CPU_ISA": "generic"})
        self.assertEqual(result.returncode, 0, result)
        best = run_server("--model", DEMO_MODEL, "--save-packed", self.folder / "best")
        if result.stdout.split(",")[-2:] == best.stdout.split(",")[-2:]:
            self.skipTest("this CPU has one layout")
        self.assert_refused("--model", self.packed, words=[
            "packed as 'bf16 panels of", "(by cpu generic", "--save-packed"])
        with ServerProcess(model=self.packed, environment={"STRATA_CPU_ISA": "generic"}):
            pass

    def test_does_not_overwrite(self):
        self.packed.mkdir()
        (self.packed / "something").write_text("dear")
        self.assert_refused("--model", DEMO_MODEL, "--save-packed", self.packed,
                            words=[str(self.packed), "exists and is no empty folder"])
        self.assertEqual([path.name for path in self.packed.iterdir()], ["something"])

    def test_packs_no_packed_folder(self):
        self.save()
        self.assert_refused("--model", self.packed, "--save-packed", self.folder / "again",
                            words=["is packed already"])

    def test_licence(self):
        accepted = ("--accept-model-license", "fair-noncommercial-research")
        with CheckpointCopy() as copy:
            (copy.path / "LICENSE").write_text("FAIR Noncommercial Research License\n")
            self.assert_refused("--model", copy.path, "--save-packed", self.packed,
                                words=["licence", accepted[0]])
            self.assertFalse(self.packed.exists())
            self.save(*accepted, model=copy.path)
        self.assert_refused("--model", self.packed, words=["licence", accepted[0]])
        (self.packed / "LICENSE").unlink()  # the weights' file says so too
        self.assert_refused("--model", self.packed, words=["licence", accepted[0]])
        with ServerProcess(*accepted, model=self.packed):
            pass

    def test_damaged(self):
        self.save("--dtype", "int8")
        content = self.weights.read_bytes()
        for damaged, words in {
                content[:-1000]: ["damaged", "pack the original checkpoint again"],
                content[:100]: ["header claims", "pack the original checkpoint again"],
                b"": ["empty"],
                struct.pack("<Q", 1 << 42) + content[8:]: ["4398046511104"],
                content.replace(b'version":"1"', b'version":"9"'): ["version '9'", "version 1"],
                content.replace(b"mlp.down", b"mlp.lost"): ["mlp.down", "missing"],
        }.items():
            self.weights.write_bytes(damaged)
            self.assert_refused("--model", self.packed, words=[self.weights.name, *words])


if __name__ == "__main__":
    unittest.main()
