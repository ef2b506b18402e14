#!/usr/bin/env python3
"""Tokens, the licence, the audit log, reloading, and systemd, over the real programs."""

import configparser
import hashlib
import json
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from server_process import (
    BIN, DEMO_MODEL, EXIT_SECONDS, ROOT, SMALL, ServerProcess, run_server, wait_until)

PROMPT = ("-n", "5", "--temperature", "0", "import os\n")


class Tokens(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.credentials = self.folder / "credentials.toml"
        self.write_credentials(alice="", mallory="expires = 2020-01-01\n")

    def write_credentials(self, **tokens):
        """A tenant whose tokens have these names and values, and more said of them."""
        text = '[[tenant]]\nname = "lab"\n'
        for name, more in tokens.items():
            digest = hashlib.sha256(name.encode()).hexdigest()
            text += f'[[tenant.token]]\nname = "{name}"\nsha256 = "{digest}"\n{more}'
        new = self.folder / "new"
        new.write_text(text)
        new.replace(self.credentials)

    def token(self, value):
        path = self.folder / f"token-{value}"
        path.write_text(f"{value}\n")
        return "--token-file", path

    def start(self, *flags, **more):
        return self.enterContext(ServerProcess("--credentials", self.credentials, *flags, **more))

    def assert_refused(self, server, words, *flags):
        result = server.strata("generate", *flags, *PROMPT, check=False)
        self.assertEqual(result.returncode, 1, result)
        self.assertIn("UNAUTHENTICATED", result.stderr)
        self.assertIn(words, result.stderr)

    def test_who_gets_in(self):
        server = self.start()
        self.assert_refused(server, "asks for a token")
        self.assert_refused(server, "does not know the token", *self.token("bob"))
        self.assert_refused(server, "the token has expired", *self.token("mallory"))
        server.strata("generate", *self.token("alice"), *PROMPT)
        refused = server.strata("load", check=False)
        self.assertIn("UNAUTHENTICATED", refused.stderr)
        server.strata("load", *self.token("alice"))

    def test_a_token_revoked_while_streaming_ends_the_stream(self):
        server = self.start()
        stream = server.start_strata("generate", *self.token("alice"), "-n", "1900",
                                     "--ignore-eos", "--json", "def f(")
        self.assertTrue(any("delta" in json.loads(line) for line in stream.stdout))
        self.write_credentials(bob="")
        out, err = stream.communicate(timeout=EXIT_SECONDS)
        self.assertEqual(stream.returncode, 1, out[-500:])
        self.assertIn("UNAUTHENTICATED: the token has been revoked", err)
        self.assertNotIn('"finished"', out)
        server.strata("generate", *self.token("bob"), *PROMPT)
        self.assertTrue(wait_until(lambda: server.metrics()["strata_kv_blocks_used"] == 0, 10))

    def test_a_file_broken_on_reload_is_said_and_the_old_one_kept(self):
        server = self.start()
        self.credentials.write_text("[[tenant]]\nname = \n")
        self.assertTrue(wait_until(
            lambda: "credentials: what was read before stays in use" in server.stderr, 20))
        self.assertIn(f"{self.credentials}:2: ", server.stderr)
        server.strata("generate", *self.token("alice"), *PROMPT)
        count = server.stderr.count("what was read before")
        server.process.send_signal(signal.SIGHUP)
        self.assertTrue(wait_until(
            lambda: server.stderr.count("what was read before") == count + 1, 20))
        server.strata("generate", *self.token("alice"), *PROMPT)

    def test_a_file_broken_at_start_gives_one_line(self):
        for text, words in (("[[tenant]]\nname = 1\n", f"{self.credentials}:1: name"),
                            (None, "no such file")):
            self.credentials.unlink()
            if text:
                self.credentials.write_text(text)
            result = run_server("--model", DEMO_MODEL, "--listen", "127.0.0.1:0",
                                "--metrics-listen", "none", *SMALL, "--credentials",
                                self.credentials)
            self.assertEqual(result.returncode, 1, result)
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
            self.assertIn("strata-server: --credentials: ", result.stderr)
            self.assertIn(words, result.stderr)
            self.credentials.write_text("")

    def test_a_token_is_never_sent_in_plain_text_to_another_machine(self):
        result = subprocess.run([BIN / "strata", "--server", "192.0.2.1:50051", "load",
                                 *self.token("alice")], check=False, text=True, capture_output=True)
        self.assertEqual(result.returncode, 2, result)
        self.assertIn("use TLS", result.stderr)

    def test_the_documented_command_makes_a_token(self):
        text = (ROOT / "docs/SECURITY.md").read_text()
        command = re.search(r"^    (openssl rand .*)$", text, re.MULTILINE).group(1)
        digest = subprocess.run(command, shell=True, cwd=self.folder, check=True, text=True,
                                capture_output=True).stdout.split()[0]
        token = (self.folder / "token").read_text().strip()
        self.assertGreaterEqual(len(token), 43)
        self.credentials.write_text('[[tenant]]\nname = "lab"\n[[tenant.token]]\n'
                                    f'name = "made"\nsha256 = "{digest}"\n')
        server = self.start()
        server.strata("generate", "--token-file", self.folder / "token", *PROMPT)

    def test_the_documented_file_is_understood(self):
        text = (ROOT / "docs/SECURITY.md").read_text()
        example = re.search(r"^    \[\[tenant\]\]\n(?:    .*\n|\n)*", text, re.MULTILINE).group(0)
        self.credentials.write_text(example)
        self.start()

    def test_token_and_certificates_go_to_the_client_from_the_environment_too(self):
        server = self.start()
        path = self.token("alice")[1]
        result = subprocess.run([BIN / "strata", "--server", server.grpc_address, "load"],
                                check=False, text=True, capture_output=True,
                                env={"STRATA_TOKEN_FILE": str(path)})
        self.assertEqual(result.returncode, 0, result.stderr)


class Licence(unittest.TestCase):
    def test_text_id_and_citation_reach_the_client(self):
        with tempfile.TemporaryDirectory() as folder:
            model = pathlib.Path(folder) / "model"
            shutil.copytree(DEMO_MODEL, model)
            (model / "LICENSE").write_text("FAIR Noncommercial Research License\nTerms.\n")
            with ServerProcess("--accept-model-license", "fair-noncommercial-research",
                               model=model) as server:
                self.assertEqual(server.strata("info", "--licence").stdout,
                                 "FAIR Noncommercial Research License\nTerms.\n\n")
                info = server.strata("info").stdout
                self.assertIn("fair-noncommercial-research", info)
                self.assertRegex(info, r"cite as +This work used .*arXiv:2404\.16710")

    def test_a_model_without_one_says_so(self):
        with ServerProcess() as server:
            self.assertIn("no licence", server.strata("info", "--license").stdout)


class Reload(unittest.TestCase):
    def test_sighup_sets_the_log_level_and_reopens_the_audit_log(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            config, audit = folder / "strata.toml", folder / "audit.jsonl"
            config.write_text('log-level = "info"\n')
            with ServerProcess("--config", config, "--audit-log", audit) as server:
                server.strata("generate", "--top-p", "7", "x", check=False)
                self.assertNotIn("top_p", server.stderr)
                server.strata("generate", *PROMPT)
                self.assertTrue(wait_until(lambda: audit.read_text().count("\n") == 1, 10))
                line = json.loads(audit.read_text())
                self.assertEqual((line["method"], line["code"], line["generated_tokens"],
                                  line["tenant"]), ("Generate", "OK", 5, ""))
                audit.rename(folder / "audit.old")
                config.write_text('log-level = "debug"\n')
                server.process.send_signal(signal.SIGHUP)
                self.assertTrue(wait_until(audit.exists, 10))
                server.strata("generate", "--top-p", "7", "x", check=False)
                self.assertTrue(wait_until(lambda: "sampling.top_p" in server.stderr, 10))
                config.write_text('log-level = "loud"\n')
                server.process.send_signal(signal.SIGHUP)
                self.assertTrue(wait_until(lambda: "'loud' is not one of" in server.stderr, 10))
                server.terminate()
                self.assertEqual(server.wait(), 0, server.stderr)


class Listening(unittest.TestCase):
    def test_beyond_this_machine_only_if_told(self):
        for flags in (("--listen", "0.0.0.0:0", "--metrics-listen", "none"),
                      ("--listen", "127.0.0.1:0", "--metrics-listen", "0.0.0.0:0")):
            result = run_server("--model", DEMO_MODEL, *flags)
            self.assertEqual(result.returncode, 2, result)
            self.assertIn("--allow-insecure-listen", result.stderr)
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)


class Systemd(unittest.TestCase):
    UNIT = ROOT / "deploy/systemd/strata-server.service"

    def test_is_told_of_readiness_reloads_and_the_end(self):
        with tempfile.TemporaryDirectory() as folder, \
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            path = f"{folder}/notify"
            listener.bind(path)
            listener.settimeout(60)

            def next_word():
                while True:
                    word = listener.recv(4096).decode()
                    if word != "WATCHDOG=1":
                        return word

            with ServerProcess(environment={"NOTIFY_SOCKET": path,
                                            "WATCHDOG_USEC": "1000000"}) as server:
                self.assertEqual(next_word(), "READY=1")
                self.assertEqual(listener.recv(4096), b"WATCHDOG=1")
                server.process.send_signal(signal.SIGHUP)
                self.assertEqual(next_word(), "RELOADING=1")
                self.assertEqual(next_word(), "READY=1")
                server.terminate()
                self.assertEqual(next_word(), "STOPPING=1")
                self.assertEqual(server.wait(), 0)

    def test_unit_names_options_that_exist(self):
        unit = configparser.ConfigParser(strict=False, interpolation=None)
        unit.optionxform = str
        unit.read(self.UNIT)
        service = unit["Service"]
        self.assertEqual(service["Type"], "notify")
        self.assertIn("HUP", service["ExecReload"])
        offered = run_server("--help").stdout
        flags = re.findall(r"--[a-z-]+", service["ExecStart"])
        self.assertTrue(flags)
        for flag in flags:
            self.assertIn(flag, offered)


if __name__ == "__main__":
    unittest.main()
