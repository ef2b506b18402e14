#!/usr/bin/env python3
"""strata-server --tensor-parallel: the reference's tokens over 2 and 4 ranks, what is refused, and
how the server ends when one rank goes wrong."""

import json
import os
import pathlib
import tempfile
import time
import unittest

from server_process import BIN, DEMO_MODEL, ROOT, SMALL, ServerProcess, run_server, wait_until

TINY_MODEL = ROOT / "tests/goldens/models/tiny-llama3"
# Where two logits are closer than this, another order of summation may choose otherwise.
MIN_MARGIN = 1e-3
NUM_ANSWERS = 4
FAULTY_SERVER = pathlib.Path(os.environ.get("STRATA_FAULTY_SERVER",
                                            BIN.parent / "tests/strata-server-faulty"))


def goldens(name):
    answers = json.loads((ROOT / "tests/goldens" / name).read_text())["greedy"]
    return [answer for answer in answers if answer.get("prompt")][:NUM_ANSWERS]


def tokens_of(answer):
    events = [json.loads(line) for line in answer.stdout.splitlines()]
    return [token for event in events for token in event.get("delta", {}).get("token_ids", [])]


class TensorParallelTest(unittest.TestCase):
    def assert_greedy(self, server, golden, *speculation):
        count = len(golden["tokens"])
        tokens = tokens_of(server.strata("generate", "--json", "--temperature", "0", "-n",
                                         str(count), *speculation, "-", stdin=golden["prompt"]))
        certain = next((i for i, margin in enumerate(golden["margins"]) if margin < MIN_MARGIN),
                       count)
        self.assertGreater(certain, 0)
        self.assertEqual(tokens[:certain], golden["tokens"][:certain])
        return tokens

    def test_greedy_answers(self):
        for model, name, exit_layer in ((DEMO_MODEL, "demo.json", "6"),
                                        (TINY_MODEL, "tiny-llama3.json", "2")):
            for ranks in ("2", "4"):
                with self.subTest(name, ranks=ranks), ServerProcess(
                        "--dtype", "f32", "--tensor-parallel", ranks, model=model) as server:
                    for golden in goldens(name):
                        plain = self.assert_greedy(server, golden, "--speculation", "off")
                        drafted = self.assert_greedy(server, golden, "--exit-layer", exit_layer,
                                                     "--num-draft-tokens", "4")
                        # Within a number of ranks to the bit, whatever the margins.
                        self.assertEqual(drafted, plain)

    def test_says_so(self):
        with ServerProcess("--tensor-parallel", "2", "--threads", "3") as server:
            info = json.loads(server.strata("info", "--json").stdout)
            self.assertEqual(info["num_ranks"], 2)
            self.assertRegex(info["backend"], "^2 ranks of cpu ")
            self.assertIn("2 ranks of cpu", server.stdout)
            self.assertIn('backend="2 ranks of cpu', server.metrics_text())

    def test_a_killed_client_leaves_nothing(self):
        with ServerProcess("--tensor-parallel", "2") as server:
            client = server.start_strata("generate", "-n", "1500", "--ignore-eos", "def f(")
            self.assertTrue(wait_until(
                lambda: server.metrics()["strata_generated_tokens_total"] > 20, 60))
            client.kill()
            client.communicate()

            def idle():
                load = json.loads(server.strata("load", "--json").stdout)
                return all(load.get(name, 0) == 0 for name in (
                    "running_requests", "kv_blocks_used", "exit_cache_rows_used"))
            self.assertTrue(wait_until(idle, 60))

    def assert_refused(self, *flags, words):
        result = run_server(*flags, "--listen", "127.0.0.1:0", "--metrics-listen", "none", *SMALL)
        self.assertEqual(result.returncode, 1, result)
        self.assertEqual(result.stdout, "")
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)

    def test_refuses_what_cannot_be_split(self):
        self.assert_refused("--model", DEMO_MODEL, "--tensor-parallel", "3", words=[
            "cannot be split over 3 ranks", "it can be over 1, 2, 4, 8"])
        with tempfile.TemporaryDirectory(prefix="strata-tp-") as folder:
            packed = pathlib.Path(folder) / "packed"
            self.assert_refused("--model", DEMO_MODEL, "--tensor-parallel", "2",
                                "--save-packed", packed, words=["--save-packed", "leave it out"])
            self.assertEqual(run_server("--model", DEMO_MODEL, "--save-packed", packed).returncode,
                             0)
            self.assert_refused("--model", packed, "--tensor-parallel", "2", words=[
                str(packed), "packed folder", "serve the original checkpoint"])


class FaultTest(unittest.TestCase):
    """strata-server's own main with a rank that goes wrong (tests/server/faulty_rank_devices.cc)."""

    def faulty(self, fault, *flags, when=None):
        environment = {"STRATA_TEST_FAULT": fault}
        if when is not None:
            environment["STRATA_TEST_FAULT_WHEN"] = str(when)
        return ServerProcess("--tensor-parallel", "2", *flags, program=FAULTY_SERVER,
                             environment=environment)

    def assert_start_fails(self, fault, *flags, message):
        with self.assertRaises(AssertionError) as failure, self.faulty(fault, *flags):
            pass
        self.assertEqual(str(failure.exception),
                         f"the server ended with 1:\nstrata-server: {message}\n")

    def test_no_memory_at_load(self):
        self.assert_start_fails("1:LoadMatrix:4:memory", message=(
            "rank 1 of 2: loading the model: out of memory: 5 GiB more are needed"))

    def test_a_rank_that_does_not_come_at_load(self):
        begun = time.monotonic()
        self.assert_start_fails("1:Barrier:2:hang", "--rank-timeout", "2s", message=(
            "rank 0 of 2: loading the model: rank 1 has not joined Barrier within 2000 ms of "
            "rank 0"))
        self.assertGreater(time.monotonic() - begun, 2)

    def test_while_serving(self):
        # AllReduceSum 500: mid-round; ReadBack 5: where no collective follows.
        for fault, reason in (
                ("1:AllReduceSum:500:hang", "rank 1 has not joined AllReduceSum of"),
                ("0:ReadBack:5:hang", "rank 0 has not finished within 2000 ms of the others"),
                ("1:PagedAttention:300:memory", "rank 1: out of memory: 5 GiB more are needed")):
            when = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "serving"
            with self.subTest(fault), \
                    self.faulty(fault, "--rank-timeout", "2s", when=when) as server:
                when.touch()
                answer = server.strata("generate", "-n", "500", "--ignore-eos", "def f(",
                                       check=False)
                self.assertNotEqual(answer.returncode, 0)
                self.assertIn(reason, answer.stderr)
                self.assertEqual(server.wait(), 1)
                errors = [line for line in server.stderr.splitlines() if reason in line]
                self.assertEqual(len(errors), 1, server.stderr)
                self.assertTrue(errors[0].startswith(
                    f"strata-server: the engine has failed: {reason}"), errors)


if __name__ == "__main__":
    unittest.main()
