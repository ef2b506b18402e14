#!/usr/bin/env python3
"""deploy/container: what the files name is there, and their command is one that the server takes.

No image is built: tests have no use for a container runtime. tests/cuda/server_test.py has the
libraries of Containerfile.cuda.
"""

import json
import re
import shlex
import subprocess
import unittest

from server_process import BIN, DEMO_MODEL, EXIT_SECONDS, ROOT, SMALL

FILES = [ROOT / "deploy/container" / name for name in ("Containerfile", "Containerfile.cuda")]
PLAIN, CUDA = FILES

# Debian's names of what a build needs before scripts/setup.sh can see to the rest.
BOOTSTRAP = {"make", "git", "ca-certificates"}


def instructions(file):
    """[(INSTRUCTION, arguments)], lines joined."""
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    return [tuple(line.split(maxsplit=1))
            for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines() if line]


def arguments(file, name):
    return [rest for instruction, rest in instructions(file) if instruction == name]


def commands(file):
    """The shell commands of RUN, as lists of words."""
    return [shlex.split(command) for run in arguments(file, "RUN") for command in run.split("&&")]


def make_targets(file):
    return [target for command in commands(file) if command[0] == "make" for target in command[1:]]


def entrypoint(file):
    [command] = arguments(file, "ENTRYPOINT")
    return json.loads(command)


def values(command):
    """The flags of a command that have a value."""
    return {flag: value for flag, value in zip(command, command[1:])
            if flag.startswith("--") and not value.startswith("--")}


class Containerfiles(unittest.TestCase):
    def test_there_is_a_stage_to_build_and_one_to_run(self):
        for file in FILES:
            with self.subTest(file.name):
                self.assertEqual(arguments(file, "FROM"),
                                 ["debian:bookworm AS build", "debian:bookworm-slim"])
                known = {"FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER", "EXPOSE", "ENTRYPOINT"}
                self.assertLessEqual({name for name, _ in instructions(file)}, known)
                self.assertEqual(arguments(file, "WORKDIR"), ["/strata"])

    def test_packages_are_those_of_setup(self):
        setup = (ROOT / "scripts/setup.sh").read_text()
        known = BOOTSTRAP | set(re.findall(r"^([a-z0-9+.-]+): ", setup, re.MULTILINE))
        for file in FILES:
            with self.subTest(file.name):
                installed = {word for command in commands(file)
                             if command[:2] == ["apt-get", "install"]
                             for word in command[2:] if not word.startswith(("-", "/tmp/"))}
                self.assertLessEqual(BOOTSTRAP, installed)
                self.assertLessEqual(installed, known)

    def test_make_targets_and_scripts_exist(self):
        makefile = (ROOT / "Makefile").read_text()
        for file in FILES:
            with self.subTest(file.name):
                for target in make_targets(file):
                    self.assertRegex(makefile, rf"(?m)^{target}:")
                for script in re.findall(r"\bscripts/[a-z_]+\.sh", file.read_text()):
                    self.assertTrue((ROOT / script).is_file(), script)

    def test_what_is_copied_is_built(self):
        """By the preset of a make target that is run, or gathered in /cuda."""
        for file in FILES:
            with self.subTest(file.name):
                for copy in arguments(file, "COPY"):
                    if copy == ". .":
                        continue
                    origin, source, _ = copy.split()
                    self.assertEqual(origin, "--from=build")
                    preset = re.match(r"/strata/build/(\w+)/", source)
                    if preset is None:
                        self.assertEqual(source, "/cuda/")
                        self.assertIn(["mkdir", "/cuda"], commands(file))
                    else:
                        target = {"release": "package", "cuda": "cuda"}[preset.group(1)]
                        self.assertIn(target, make_targets(file))

    def test_the_two_differ_in_what_cuda_needs(self):
        self.assertEqual(entrypoint(CUDA), [*entrypoint(PLAIN), "--device", "cuda"])
        for name in ("USER", "EXPOSE"):
            self.assertEqual(arguments(CUDA, name), arguments(PLAIN, name))

    def test_ports_are_those_that_the_server_listens_on(self):
        for file in FILES:
            with self.subTest(file.name):
                flags = values(entrypoint(file))
                ports = [flags[flag].rsplit(":", 1)[1] for flag in ("--listen", "--metrics-listen")]
                self.assertEqual(arguments(file, "EXPOSE"), [" ".join(ports)])

    def test_the_server_takes_the_command(self):
        """At free ports, with the demo model in the place of what is mounted."""
        program, *flags = entrypoint(PLAIN)
        flags = [{"/model": str(DEMO_MODEL)}.get(flag, re.sub(r":\d+$", ":0", flag))
                 for flag in flags]
        server = subprocess.Popen([BIN / program, *flags, *SMALL], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True)
        try:
            self.assertRegex(server.stdout.readline(), r"grpc 0\.0\.0\.0:[1-9]")
            server.terminate()
            self.assertEqual(server.wait(timeout=EXIT_SECONDS), 0)
        finally:
            server.kill()
            server.communicate()


if __name__ == "__main__":
    unittest.main()
