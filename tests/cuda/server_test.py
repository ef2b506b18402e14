#!/usr/bin/env python3
"""The server that NVIDIA's compiler has built, where there may be no GPU.

    server_test.py SERVER
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVER = None


def run(*flags):
    return subprocess.run(
        [SERVER, "--listen", "127.0.0.1:0", "--metrics-listen", "none", *flags],
        capture_output=True, text=True, timeout=100, check=False)


def has_gpu():
    return os.path.exists("/dev/nvidiactl")


class CudaServer(unittest.TestCase):
    def test_says_that_no_device_is_present(self):
        if has_gpu():
            self.skipTest("there is a GPU here: scripts/gpu_check.sh is its test")
        result = run("--model", ROOT / "models/demo", "--device", "cuda")
        self.assertEqual(result.returncode, 1, result)
        self.assertEqual(result.stdout, "")
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertIn("no CUDA device is present", result.stderr)

    def test_a_broken_checkpoint_is_said_first(self):
        with tempfile.TemporaryDirectory() as folder:
            result = run("--model", folder, "--device", "cuda")
        self.assertEqual(result.returncode, 1, result)
        self.assertIn("config.json", result.stderr)

    def test_the_container_has_all_its_libraries_of_the_toolchain(self):
        needed = subprocess.run(["ldd", SERVER], capture_output=True, text=True, check=True).stdout
        toolchain = re.search(r"=> (.*)/libcublas\.so", needed).group(1)
        libraries = set(re.findall(rf"=> {re.escape(toolchain)}/(\S+)", needed))
        self.assertIn("libnccl.so.2", libraries)
        container = (ROOT / "deploy/container/Containerfile.cuda").read_text()
        [copied] = re.findall(r"&& cp (.*) /cuda$", container, re.MULTILINE)
        self.assertEqual(set(copied.split()), libraries)


if __name__ == "__main__":
    SERVER = sys.argv.pop()
    unittest.main()
