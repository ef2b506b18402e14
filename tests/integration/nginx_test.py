#!/usr/bin/env python3
"""deploy/nginx/strata.conf in the real nginx: TLS outside, strata-server behind it."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from certificates import Certificates
from free_port import free_port
from server_process import BIN, EXIT_SECONDS, ROOT, ServerProcess, wait_until

CONFIGURATION = ROOT / "deploy/nginx/strata.conf"


def accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Nginx:
    """The example, with this test's files and ports in place of its own."""

    def __init__(self, folder, certificates, upstream):
        self.folder = pathlib.Path(folder)
        self.port = free_port()
        self.address = f"localhost:{self.port}"
        text = CONFIGURATION.read_text()
        for pattern, replacement in (
                (r"listen 443", f"listen 127.0.0.1:{self.port}"),
                (r"server 127\.0\.0\.1:50051;", f"server {upstream};"),
                (r"/etc/strata/tls/fullchain\.pem", str(certificates.pem("server"))),
                (r"/etc/strata/tls/privkey\.pem", str(certificates.key("server")))):
            text, count = re.subn(pattern, replacement, text)
            assert count == 1, pattern
        (self.folder / "strata.conf").write_text(text)
        temporary = "".join(f"{kind}_temp_path {self.folder}/{kind};\n" for kind in
                            ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self.folder / "nginx.conf").write_text(
            f"daemon off;\nmaster_process off;\npid {self.folder}/pid;\n"
            f"error_log {self.folder}/error.log;\nevents {{}}\nhttp {{\n"
            f"access_log {self.folder}/access.log;\n{temporary}include {self.folder}/strata.conf;\n"
            "}\n")

    def __enter__(self):
        self.process = subprocess.Popen(
            ["nginx", "-p", self.folder, "-c", self.folder / "nginx.conf", "-e",
             self.folder / "error.log"],
            stdin=subprocess.DEVNULL, env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"})
        if not wait_until(lambda: accepts(self.port) or self.process.poll() is not None, 30):
            raise AssertionError("nginx does not listen")
        if self.process.poll() is not None:
            raise AssertionError((self.folder / "error.log").read_text())
        return self

    def __exit__(self, *unused):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)


class BehindNginx(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        self.certificates = Certificates(self.folder)
        self.certificates.make_ca("ca")
        self.certificates.make("server", "ca")

    def strata(self, nginx, *arguments):
        return subprocess.run(
            [BIN / "strata", "--server", nginx.address, "--tls-ca", self.certificates.pem("ca"),
             *arguments], text=True, capture_output=True, timeout=120, check=False,
            stdin=subprocess.DEVNULL)

    def test_streams_pass_through(self):
        generate = ("generate", "-n", "200", "--temperature", "0", "--ignore-eos", "import os\n")
        with ServerProcess() as server, \
                Nginx(self.folder, self.certificates, server.grpc_address) as nginx:
            direct = server.strata(*generate).stdout
            behind = self.strata(nginx, *generate)
            self.assertEqual((behind.returncode, behind.stdout), (0, direct), behind.stderr)
            self.assertEqual(self.strata(nginx, "info").returncode, 0)

    def test_deltas_are_not_held_back(self):
        with ServerProcess() as server, \
                Nginx(self.folder, self.certificates, server.grpc_address) as nginx:
            with subprocess.Popen(
                    [BIN / "strata", "--server", nginx.address, "--tls-ca",
                     self.certificates.pem("ca"), "generate", "--json", "-n", "2000",
                     "--ignore-eos", "--temperature", "0", "import os\n"],
                    stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL) as client:
                times = [time.monotonic() for line in client.stdout if '"delta"' in line]
                self.assertEqual(client.wait(timeout=EXIT_SECONDS), 0)
            self.assertGreater(len(times), 100)
            # Held back, they would come all at once, at the end.
            first_half = times[len(times) // 2] - times[0]
            self.assertGreater(first_half, (times[-1] - times[0]) / 10)

    def test_cancelling_reaches_the_server(self):
        with ServerProcess() as server, \
                Nginx(self.folder, self.certificates, server.grpc_address) as nginx:
            client = subprocess.Popen(
                [BIN / "strata", "--server", nginx.address, "--tls-ca",
                 self.certificates.pem("ca"), "generate", "-n", "3000", "--ignore-eos", "a"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
            running = lambda: server.metrics()["strata_running_requests"]  # noqa: E731
            self.assertTrue(wait_until(lambda: running() == 1, 30))
            client.kill()
            client.wait()
            self.assertTrue(wait_until(lambda: running() == 0, 30))

    def test_a_server_that_is_down_is_unavailable(self):
        with Nginx(self.folder, self.certificates, f"127.0.0.1:{free_port()}") as nginx:
            result = self.strata(nginx, "info")
            self.assertEqual(result.returncode, 1)
            self.assertIn("strata-server cannot be reached", result.stderr)


if __name__ == "__main__":
    unittest.main()
