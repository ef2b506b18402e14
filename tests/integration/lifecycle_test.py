#!/usr/bin/env python3
"""How the server starts, says where it listens, and ends."""

import json
import os
import pathlib
import signal
import socket
import tempfile
import unittest

from server_process import (
    DEMO_MODEL, EXIT_SECONDS, SMALL, ServerProcess, run_server, wait_until)

LONG = ("-n", "1900", "--ignore-eos", "--seed", "1", "--json", "def f(")
# Long enough for a test to act while it runs, short enough to wait for.
MEDIUM = ("-n", "400", "--ignore-eos", "--seed", "1", "--json", "def f(")


def start_stream(server, arguments):
    """A `strata generate` that has received tokens already."""
    stream = server.start_strata("generate", *arguments)
    for line in stream.stdout:
        if "delta" in json.loads(line):
            return stream
    raise AssertionError(f"no tokens came: {stream.communicate()}")


def finish(stream):
    """Exit code, last event (null if none came since) and stderr."""
    out, err = stream.communicate(timeout=EXIT_SECONDS)
    lines = out.splitlines()
    return stream.returncode, json.loads(lines[-1]) if lines else {}, err


def can_connect(address):
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
        return True
    except OSError:
        return False


class Start(unittest.TestCase):
    def test_port_file_and_ready_line_tell_the_addresses_in_use(self):
        with ServerProcess() as server:
            self.assertRegex(server.port_file.read_text(),
                             r"\Agrpc 127\.0\.0\.1:[1-9]\d*\nmetrics 127\.0\.0\.1:[1-9]\d*\n\Z")
            self.assertTrue(can_connect(server.grpc_address))
            self.assertTrue(can_connect(server.metrics_address))
            self.assertTrue(wait_until(lambda: "\n" in server.stdout, 10))
            self.assertEqual(server.stdout.count("\n"), 1, server.stdout)
            self.assertIn(f"grpc {server.grpc_address}, metrics {server.metrics_address}",
                          server.stdout)
            leftovers = {path.name for path in server.port_file.parent.iterdir()}
            self.assertEqual(leftovers, {"ports", "stdout", "stderr"})

    def test_no_metrics_port_if_told_so(self):
        with ServerProcess(metrics="none") as server:
            self.assertEqual(server.port_file.read_text(), f"grpc {server.grpc_address}\n")

    def test_options_come_from_the_environment_and_a_file_too(self):
        with tempfile.TemporaryDirectory() as folder:
            config = pathlib.Path(folder) / "strata.toml"
            config.write_text('max-context = 64\nexit-layer = 3\ndtype = "f32"\n')
            with ServerProcess("--config", config, "--max-context", "128",
                               environment={"STRATA_EXIT_LAYER": "5"}) as server:
                info = json.loads(server.strata("info", "--json").stdout)
        self.assertEqual(info["max_context"], 128)  # the flag, not the file
        self.assertEqual(info["defaults"]["fixed"]["exit_layer"], 5)  # the variable, not the file
        self.assertEqual(info["dtype"], "f32")

    def test_pinned_threads_have_a_core_each_and_others_all(self):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) == 1:
            self.skipTest("one core, to which every thread is bound")
        for ranks in ("1", "2"):
            with self.subTest(ranks=ranks), ServerProcess(
                    "--pin-threads", "on", "--tensor-parallel", ranks) as server:
                self.assertEqual(server.strata("generate", "-n", "4", "def f(").returncode, 0)
                bound = []
                for task in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir():
                    allowed = os.sched_getaffinity(int(task.name))
                    if sorted(allowed) != cores:
                        self.assertEqual(len(allowed), 1, allowed)
                        bound += allowed
                self.assertEqual(sorted(bound), cores)

    def test_unusable_options_give_one_line_and_exit_code_2(self):
        for flags, words in (
                ((), "--model"),
                (("--model", DEMO_MODEL, "--bogus"), "--bogus"),
                (("--model", DEMO_MODEL, "--listen", "localhost"), "--listen"),
                (("--model", DEMO_MODEL, "--threads", "many"), "--threads"),
                (("--model", DEMO_MODEL, "--dtype", "int3"), "--dtype"),
                (("--model", DEMO_MODEL, "--device", "cuda"), "--device"),
                (("--model", DEMO_MODEL, "--kv-cache-memory", "-1GiB"), "--kv-cache-memory"),
                (("--model", DEMO_MODEL, "--config", "/nonexistent.toml"), "/nonexistent.toml")):
            with self.subTest(flags):
                result = run_server(*flags)
                self.assertEqual(result.returncode, 2, result)
                self.assertEqual(result.stdout, "")
                self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
                self.assertIn(words, result.stderr)

    def test_options_that_do_not_fit_the_checkpoint_give_one_line_and_exit_code_1(self):
        for flags, words in ((("--exit-layer", "16"), "exit"),
                             (("--max-context", "4096"), "2048"),
                             (("--kv-cache-memory", "1MiB"), "KV"),
                             (("--pin-threads", "on", "--threads", "1000"), "pin 1000 threads"),
                             (("--dtype", "f16"), "take bf16, or f32, which holds f16 exactly"),
                             (("--draft-vocabulary", "4096"), "[0, 4095]"),
                             (("--draft-token-counts", "counts"), "draft vocabulary"),
                             (("--draft-vocabulary", "9", "--draft-token-counts", __file__),
                              f"{__file__}:1: ")):
            with self.subTest(flags):
                result = run_server("--model", DEMO_MODEL, "--listen", "127.0.0.1:0",
                                    "--metrics-listen", "none", *flags)
                self.assertEqual(result.returncode, 1, result)
                self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
                self.assertIn(words, result.stderr)

    def test_port_in_use_is_said_and_nothing_is_left_half_started(self):
        for option, other in (("--listen", "--metrics-listen"), ("--metrics-listen", "--listen")):
            with self.subTest(option), socket.create_server(("127.0.0.1", 0)) as taken, \
                    tempfile.TemporaryDirectory() as folder:
                address = f"127.0.0.1:{taken.getsockname()[1]}"
                port_file = pathlib.Path(folder) / "ports"
                result = run_server("--model", DEMO_MODEL, option, address, other, "127.0.0.1:0",
                                    "--port-file", port_file, *SMALL)
                self.assertEqual(result.returncode, 1, result)
                self.assertEqual(result.stdout, "")
                self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
                self.assertIn(f"strata-server: {option}: cannot listen on {address}", result.stderr)
                self.assertFalse(port_file.exists())


class Stop(unittest.TestCase):
    def test_signal_ends_an_idle_server_with_exit_code_0(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number), ServerProcess() as server:
                server.process.send_signal(number)
                self.assertEqual(server.wait(), 0, server.stderr)
                self.assertFalse(can_connect(server.grpc_address))

    def test_drain_finishes_running_streams_and_refuses_new_ones(self):
        with ServerProcess() as server:
            stream = start_stream(server, MEDIUM)
            server.terminate()
            self.assertTrue(wait_until(lambda: "stopping" in server.stderr, 10), server.stderr)
            refused = server.strata("generate", "-n", "1", "x", check=False)
            self.assertEqual(refused.returncode, 1, refused)
            self.assertIn("UNAVAILABLE", refused.stderr)
            code, last, err = finish(stream)
            self.assertEqual(code, 0, err)
            self.assertEqual(last["finished"]["usage"]["generated_tokens"], 400)
            self.assertEqual(server.wait(), 0, server.stderr)

    def test_second_signal_cuts_running_streams_short(self):
        with ServerProcess() as server:
            stream = start_stream(server, LONG)
            server.terminate()
            self.assertTrue(wait_until(lambda: "stopping" in server.stderr, 10), server.stderr)
            server.terminate()
            self.assertEqual(server.wait(), 0, server.stderr)
            self.assertIn("cut short", server.stderr)
            code, last, err = finish(stream)
            self.assertEqual(code, 1)
            self.assertIn("UNAVAILABLE", err)
            self.assertNotIn("finished", last)

    def test_drain_timeout_cuts_running_streams_short(self):
        with ServerProcess("--drain-timeout", "100ms") as server:
            stream = start_stream(server, LONG)
            server.terminate()
            self.assertEqual(server.wait(), 0, server.stderr)
            code, last, err = finish(stream)
            self.assertEqual(code, 1)
            self.assertIn("UNAVAILABLE", err)
            self.assertNotIn("finished", last)


if __name__ == "__main__":
    unittest.main()
