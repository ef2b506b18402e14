#!/usr/bin/env python3
"""The Debian package: what is in it, and that its programs run from there."""

import pathlib
import subprocess
import tempfile
import unittest

from server_process import BIN, DEMO_MODEL, EXIT_SECONDS

BUILD = BIN.parent


def run(*command, **options):
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, **options).stdout


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        run("cpack", "--config", BUILD / "CPackConfig.cmake", "-B", cls.folder)
        [cls.package] = cls.folder.glob("*.deb")
        cls.root = cls.folder / "root"
        run("dpkg-deb", "--extract", cls.package, cls.root)
        run("dpkg-deb", "--control", cls.package, cls.folder / "control")

    def test_dependencies_are_found(self):
        depends = run("dpkg-deb", "--field", self.package, "Depends")
        for library in ("libc6", "libsentencepiece0", "libpcre2-8-0"):
            self.assertIn(library, depends)

    def test_programs_run(self):
        version = run("dpkg-deb", "--field", self.package, "Version").strip()
        self.assertIn(version.split("-")[0], run(self.root / "usr/bin/strata-server", "--version"))
        for program in ("strata", "strata-bench", "strata-loadtest"):
            run(self.root / "usr/bin" / program, "--help")

    def test_the_service_starts_what_is_there(self):
        unit = (self.root / "usr/lib/systemd/system/strata-server.service").read_text()
        command = next(line.split("=", 1)[1] for line in unit.splitlines()
                       if line.startswith("ExecStart="))
        program, flag, configuration = command.split()
        self.assertTrue((self.root / program.lstrip("/")).is_file())
        self.assertEqual(flag, "--config")
        self.assertTrue((self.root / configuration.lstrip("/")).is_file())
        conffiles = (self.folder / "control/conffiles").read_text().split()
        self.assertEqual(conffiles, [configuration])

    def test_the_configuration_serves(self):
        text = (self.root / "etc/strata/strata.toml").read_text()
        for before, after in (("/var/lib/strata/model", str(DEMO_MODEL)),
                              ("127.0.0.1:50051", "127.0.0.1:0"),
                              ("127.0.0.1:9464", "127.0.0.1:0")):
            self.assertEqual(text.count(f'"{before}"'), 1)
            text = text.replace(f'"{before}"', f'"{after}"')
        configuration = self.folder / "strata.toml"
        configuration.write_text(text)
        server = subprocess.Popen(
            [self.root / "usr/bin/strata-server", "--config", configuration, "--kv-cache-memory",
             "64MiB"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            stdin=subprocess.DEVNULL)
        try:
            self.assertIn("127.0.0.1:", server.stdout.readline())
            server.terminate()
            self.assertEqual(server.wait(timeout=EXIT_SECONDS), 0)
        finally:
            server.kill()
            server.wait()
            server.stdout.close()

    def test_scripts_are_shell(self):
        for script in ("postinst", "prerm", "postrm"):
            run("sh", "-n", self.folder / "control" / script)


if __name__ == "__main__":
    unittest.main()
