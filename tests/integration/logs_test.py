#!/usr/bin/env python3
"""What the real server logs, also where nobody reads it or no disk takes it; and the trace of its
rounds."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

from server_process import BIN, SMALL, ServerProcess, wait_until

PROMPT = ("-n", "5", "--temperature", "0", "import os\n")


class Json(unittest.TestCase):
    def test_each_line_is_an_object_and_each_request_has_one(self):
        with ServerProcess("--log-format", "json") as server:
            for _ in range(3):
                server.strata("generate", *PROMPT)
            server.strata("generate", "--top-p", "7", "x", check=False)
            server.terminate()
            self.assertEqual(server.wait(), 0, server.stderr)
            lines = [json.loads(line) for line in server.stderr.splitlines()]
        for line in lines:
            self.assertEqual(list(line)[:3], ["time", "level", "message"])
        requests = [line for line in lines if line["message"] == "request"]
        self.assertEqual([line["code"] for line in requests], ["OK"] * 3 + ["INVALID_ARGUMENT"])
        self.assertEqual(len({line["request_id"] for line in requests}), 4)
        for line in requests[:3]:
            self.assertEqual((line["method"], line["generated_tokens"]), ("Generate", 5))
            self.assertLessEqual(line["queue_ms"], line["ttft_ms"])
            self.assertLessEqual(line["ttft_ms"], line["total_ms"])
        self.assertTrue(any(line["message"] == "stopped" for line in lines), lines)
        self.assertNotIn("import os", json.dumps(lines))

    def test_prompts_are_logged_if_asked_for(self):
        with ServerProcess("--log-format", "json", "--log-prompts") as server:
            answer = server.strata("generate", *PROMPT).stdout
            self.assertTrue(wait_until(lambda: '"answer"' in server.stderr, 10), server.stderr)
            lines = [json.loads(line) for line in server.stderr.splitlines()]
        logged = {line["message"]: line for line in lines}
        self.assertEqual(logged["prompt"]["prompt"], "import os\n")
        self.assertEqual(logged["answer"]["answer"], answer)
        self.assertEqual(logged["prompt"]["request_id"], logged["answer"]["request_id"])


class NowhereToLog(unittest.TestCase):
    """What it logs can be lost; nothing else may happen."""

    LOUD = ("--log-level", "debug", "--log-prompts")

    def serve(self, server):
        """Calls as from any server."""
        for _ in range(3):
            server.strata("generate", *PROMPT)
        # More than any pipe holds: prompts that are too long are logged, too.
        for _ in range(20):
            server.strata("generate", "-", stdin="x = 1\n" * 1000, check=False)
        server.strata("generate", *PROMPT)
        server.terminate()
        self.assertEqual(server.wait(), 0)

    def test_full_disk(self):
        with open("/dev/full", "wb") as full, \
                ServerProcess(*self.LOUD, "--audit-log", "/dev/full", stderr=full) as server:
            server.strata("generate", *PROMPT)
            self.assertTrue(wait_until(
                lambda: server.metrics()["strata_log_lines_lost_total"] > 0 and
                server.metrics()["strata_audit_lines_lost_total"] == 1, 10))
            self.serve(server)

    def test_reader_that_is_gone(self):
        reader, writer = os.pipe()
        with open(writer, "wb") as stderr, ServerProcess(*self.LOUD, stderr=stderr) as server:
            os.close(reader)
            self.serve(server)

    def test_reader_that_never_reads(self):
        reader, writer = os.pipe()
        with open(reader, "rb"), open(writer, "wb") as stderr, \
                ServerProcess(*self.LOUD, stderr=stderr) as server:
            self.serve(server)

    def test_closed_streams(self):
        # The numbers of standard streams must not become those of files and connections.
        with tempfile.TemporaryDirectory() as folder:
            closed = pathlib.Path(folder) / "closed"
            closed.write_text(f'#!/bin/sh\nexec "{BIN}/strata-server" "$@" <&- >&- 2>&-\n')
            closed.chmod(0o755)
            with ServerProcess(*self.LOUD, program=closed) as server:
                streams = {os.readlink(f"/proc/{server.process.pid}/fd/{fd}") for fd in range(3)}
                self.assertEqual(streams, {"/dev/null"})
                self.serve(server)

    def test_start_that_fails_keeps_its_exit_code(self):
        for flags, code in ((("--help",), 1), (("--bogus",), 2),
                            (("--model", "/nonexistent", *SMALL), 1)):
            with self.subTest(flags), open("/dev/full", "wb") as full:
                result = subprocess.run([BIN / "strata-server", *flags], stdout=full, stderr=full,
                                        check=False)
                self.assertEqual(result.returncode, code)


class Trace(unittest.TestCase):
    def test_is_written_for_viewers_of_traces(self):
        with tempfile.TemporaryDirectory() as folder, ServerProcess() as server:
            server.strata("generate", "-n", "40", "--ignore-eos", "--exit-layer", "4",
                          "--num-draft-tokens", "3", "import os\n")
            path = pathlib.Path(folder) / "trace.json"
            said = server.strata("trace", "--out", path).stdout
            trace = json.loads(path.read_text())
            spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
            rounds = [span for span in spans if span["name"] == "round"]
            self.assertIn(f"{len(rounds)} rounds in {path}", said)
            self.assertEqual(sum(span["args"]["emitted_tokens"] for span in rounds), 40)
            self.assertGreater(sum(span["args"]["drafted_tokens"] for span in rounds), 0)
            for name in ("plan", "draft", "sweep", "verify", "deliver"):
                self.assertTrue(any(span["name"] == name for span in spans), name)
            # Each part lies within its round, and rounds follow one another.
            ends = -1
            for span in rounds:
                self.assertGreaterEqual(span["ts"], ends)
                ends = span["ts"] + span["dur"]
            for span in spans:
                self.assertTrue(any(whole["ts"] - 1e-3 <= span["ts"] and
                                    span["ts"] + span["dur"] <= whole["ts"] + whole["dur"] + 1e-3
                                    for whole in rounds), span)
            raw = json.loads(server.strata("trace", "--json", "--rounds", "2", "--out",
                                           "-").stdout)
            self.assertEqual(len(raw["rounds"]), 2)
            failed = server.strata("trace", "--out", folder, check=False)
            self.assertEqual(failed.returncode, 1)
            self.assertIn(f"cannot write {folder}", failed.stderr)

    def test_is_not_to_be_had_where_control_is_off(self):
        with ServerProcess("--control", "off") as server:
            failed = server.strata("trace", "--out", "-", check=False)
            self.assertEqual(failed.returncode, 1)
            self.assertIn("UNIMPLEMENTED", failed.stderr)


if __name__ == "__main__":
    unittest.main()
