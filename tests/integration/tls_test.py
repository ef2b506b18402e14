#!/usr/bin/env python3
"""TLS over the real programs: who gets in, with which protocols, and certificates that change."""

import hashlib
import json
import pathlib
import shutil
import signal
import socket
import ssl
import tempfile
import time
import unittest
import warnings

from certificates import Certificates, openssl
from server_process import (
    DEMO_MODEL, EXIT_SECONDS, SMALL, ServerProcess, run_server, wait_until)

# Forward secrecy and authenticated encryption, with nothing weaker.
STRONG = {
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
}
PROMPT = ("-n", "5", "--temperature", "0", "import os\n")


def address_of(server):
    host, port = server.grpc_address.rsplit(":", 1)
    return host, int(port)


def handshake(server, version, ciphers="ALL:COMPLEMENTOFALL:@SECLEVEL=0"):
    """Protocol, cipher and certificate of a handshake; None if there is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(ciphers)
    context.set_alpn_protocols(["h2"])
    with warnings.catch_warnings(action="ignore"):  # that some versions are out of use
        context.minimum_version = context.maximum_version = version
    try:
        with socket.create_connection(address_of(server), timeout=10) as plain, \
                context.wrap_socket(plain) as secure:
            return secure.version(), secure.cipher()[0], secure.getpeercert(binary_form=True)
    except (ssl.SSLError, ConnectionError):
        return None


def fingerprint(server):
    found = handshake(server, ssl.TLSVersion.TLSv1_3)
    return found and hashlib.sha256(found[2]).hexdigest()


def fingerprint_of(path):
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(path.read_text())).hexdigest()


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.certificates = Certificates(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.certificates.make_ca("ca")
        cls.certificates.make_ca("other-ca")
        cls.certificates.make("server", "ca")
        cls.certificates.make("rsa-server", "ca", ("rsa:2048",))
        cls.certificates.make("renewed", "ca")
        cls.certificates.make("client", "ca")
        cls.certificates.make("stranger", "other-ca")

    def tls_flags(self, name="server"):
        return ("--tls-cert", self.certificates.pem(name), "--tls-key", self.certificates.key(name))

    def client_flags(self, ca="ca", identity=None):
        flags = ["--tls-ca", self.certificates.pem(ca)]
        if identity:
            flags += ["--tls-cert", self.certificates.pem(identity), "--tls-key",
                      self.certificates.key(identity)]
        return flags

    def assert_unavailable(self, server, *flags):
        result = server.strata("generate", *flags, "--timeout", "20", *PROMPT, check=False)
        self.assertEqual(result.returncode, 1, result)
        self.assertIn("UNAVAILABLE", result.stderr)
        self.assertEqual(result.stdout, "")

    def test_clients_must_trust_the_server_and_speak_tls(self):
        with ServerProcess(*self.tls_flags()) as server:
            self.assertNotEqual(server.strata("generate", *self.client_flags(), *PROMPT).stdout, "")
            self.assert_unavailable(server, *self.client_flags(ca="other-ca"))
            self.assert_unavailable(server)  # plain text
            self.assertNotEqual(server.strata("generate", *self.client_flags(), *PROMPT).stdout, "")
        with ServerProcess() as server:
            self.assert_unavailable(server, *self.client_flags())  # TLS to plain text

    def test_mutual_tls_asks_for_a_certificate_of_its_ca(self):
        with ServerProcess(*self.tls_flags(), "--tls-client-ca",
                           self.certificates.pem("ca")) as server:
            self.assert_unavailable(server, *self.client_flags())
            self.assert_unavailable(server, *self.client_flags(identity="stranger"))
            answer = server.strata("generate", *self.client_flags(identity="client"), *PROMPT)
            self.assertNotEqual(answer.stdout, "")

    def test_scan_shows_only_modern_protocols_and_strong_ciphers(self):
        for name in ("server", "rsa-server"):
            with self.subTest(name), ServerProcess(*self.tls_flags(name)) as server:
                for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
                    self.assertIsNone(handshake(server, version), version)
                self.assertEqual(handshake(server, ssl.TLSVersion.TLSv1_3)[0], "TLSv1.3")
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
                offered = [cipher["name"] for cipher in context.get_ciphers()
                           if cipher["protocol"] != "TLSv1.3"]
                self.assertGreater(len(offered), 50)
                accepted = {cipher for cipher in offered if
                            handshake(server, ssl.TLSVersion.TLSv1_2, f"{cipher}:@SECLEVEL=0")}
                self.assertTrue(accepted)
                self.assertLessEqual(accepted, STRONG)

    def test_certificates_that_change_are_used_without_dropping_streams(self):
        with tempfile.TemporaryDirectory() as folder:
            mine = Certificates(folder)

            def install(name):
                for path in (self.certificates.pem(name), self.certificates.key(name)):
                    shutil.copy(path, pathlib.Path(folder) / f"now{path.suffix}")

            install("server")
            with ServerProcess("--tls-cert", mine.pem("now"), "--tls-key",
                               mine.key("now")) as server:
                self.assertEqual(fingerprint(server),
                                 fingerprint_of(self.certificates.pem("server")))
                stream = server.start_strata("generate", *self.client_flags(), "-n", "400",
                                             "--ignore-eos", "--json", "def f(")
                self.assertTrue(any("delta" in json.loads(line) for line in stream.stdout))
                install("renewed")
                self.assertTrue(wait_until(
                    lambda: fingerprint(server) ==
                    fingerprint_of(self.certificates.pem("renewed")), 20), server.stderr)
                out, err = stream.communicate(timeout=EXIT_SECONDS)
                self.assertEqual(stream.returncode, 0, err)
                self.assertIn("finished", json.loads(out.splitlines()[-1]))

                # A key that is another's, then what is no certificate: the last good ones stay.
                shutil.copy(self.certificates.key("server"), mine.key("now"))
                self.assertTrue(wait_until(lambda: "certificates: what was read before stays"
                                           in server.stderr, 20), server.stderr)
                mine.pem("now").write_text("nonsense")
                self.assertTrue(wait_until(lambda: "no certificate in PEM" in server.stderr, 20),
                                server.stderr)
                self.assertEqual(fingerprint(server),
                                 fingerprint_of(self.certificates.pem("renewed")))
                self.assertGreaterEqual(
                    server.metrics()['strata_reload_failures_total{what="certificates"}'], 2)
                install("server")
                server.process.send_signal(signal.SIGHUP)
                self.assertTrue(wait_until(
                    lambda: fingerprint(server) ==
                    fingerprint_of(self.certificates.pem("server")), 20), server.stderr)

    def test_metrics_tell_when_the_certificate_ends(self):
        with ServerProcess(*self.tls_flags()) as server:
            end = server.metrics()["strata_tls_certificate_end_timestamp_seconds"]
            self.assertAlmostEqual(end, time.time() + 2 * 86400, delta=3600)

    def test_connections_that_say_nothing_are_closed(self):
        for flags in ((), self.tls_flags()):
            with self.subTest(flags), \
                    ServerProcess("--handshake-timeout", "500ms", *flags) as server:
                with socket.create_connection(address_of(server), timeout=30) as silent:
                    while silent.recv(4096):  # the server's settings may come first
                        pass

    def test_unusable_files_give_one_line(self):
        folder = self.certificates.folder
        (folder / "nonsense.pem").write_text("nonsense")
        openssl("ec", "-in", self.certificates.key("server"), "-aes128", "-passout", "pass:secret",
                "-out", folder / "locked.key")
        openssl("req", "-x509", "-newkey", "rsa:1024", "-nodes", "-days", "2", "-subj", "/CN=weak",
                "-keyout", folder / "weak.key", "-out", folder / "weak.pem")
        good = self.certificates.pem("server"), self.certificates.key("server")
        for certificate, key, more, words in (
                ("missing.pem", good[1], (), "--tls-cert: missing.pem: no such file"),
                (folder / "nonsense.pem", good[1], (), "nonsense.pem: no certificate in PEM"),
                (folder / "weak.pem", folder / "weak.key", (), "too small"),
                (good[0], folder, (), f"--tls-key: {folder}: not a regular file"),
                (good[0], good[0], (), "no private key in PEM without a passphrase"),
                (good[0], folder / "locked.key", (), "no private key in PEM without a passphrase"),
                (good[0], self.certificates.key("client"), (), "mismatch"),
                (*good, ("--tls-client-ca", folder / "nonsense.pem"), "--tls-client-ca: ")):
            with self.subTest(words):
                result = run_server("--model", DEMO_MODEL, "--listen", "127.0.0.1:0",
                                    "--metrics-listen", "none", *SMALL, "--tls-cert", certificate,
                                    "--tls-key", key, *more)
                self.assertEqual(result.returncode, 1, result)
                self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
                self.assertIn(words, result.stderr)


if __name__ == "__main__":
    unittest.main()
