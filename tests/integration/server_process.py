"""The real strata-server, and the strata command, as processes of a test.

The programs are those in $STRATA_BIN, else in build/release/bin.
"""

import os
import pathlib
import signal
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("STRATA_BIN", ROOT / "build/release/bin"))
DEMO_MODEL = ROOT / "models/demo"

# What the programs are built with: "", "address,undefined" or "thread".
SANITIZERS = os.environ.get("STRATA_SANITIZE", "")

# So much longer may take what is waited for: under sanitizers everything does.
SLOWDOWN = float(os.environ.get("STRATA_TEST_SLOWDOWN", "1"))

# Bounds for what normally takes a second or two, wide enough for busy machines.
READY_SECONDS = 120 * SLOWDOWN
EXIT_SECONDS = 60 * SLOWDOWN

# Options that keep a test's server small, unless it asks for more.
SMALL = ("--kv-cache-memory", "256MiB")


def _environment(extra=None):
    """Ours without what would configure the server (or a proxy in its way)."""
    kept = {name: value for name, value in os.environ.items()
            if name == "STRATA_CPU_ISA" or
            not (name.startswith("STRATA_") or name.lower().endswith("_proxy"))}
    return {**kept, **(extra or {})}


class ServerProcess:
    """A server that is ready when `with` begins and gone when it ends.

    It listens on a free port of this machine, or at `listen`. stdout and stderr are what it has
    printed so far; stderr nothing if it goes to a file of the caller's.
    """

    def __init__(self, *flags, model=DEMO_MODEL, metrics="127.0.0.1:0", environment=None,
                 program=BIN / "strata-server", listen="127.0.0.1:0", stderr=None):
        self._program = program
        small = () if "--kv-cache-memory" in flags else SMALL
        self._flags = ("--listen", listen, "--metrics-listen", metrics, *small, *flags)
        self._model = model
        self._environment = environment
        self._stderr = stderr
        self._folder = tempfile.TemporaryDirectory(prefix="strata-server-")
        self.port_file = pathlib.Path(self._folder.name) / "ports"
        self.process = None
        self.grpc_address = None
        self.metrics_address = None

    def __enter__(self):
        folder = pathlib.Path(self._folder.name)
        with open(folder / "stdout", "wb") as out, open(folder / "stderr", "wb") as err:
            self.process = subprocess.Popen(
                [self._program, "--model", self._model,
                 "--port-file", self.port_file, *self._flags],
                stdin=subprocess.DEVNULL, stdout=out, stderr=self._stderr or err,
                env=_environment(self._environment))
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait_until_ready(self):
        if not wait_until(lambda: self.port_file.exists() or self.process.poll() is not None,
                          READY_SECONDS):
            raise AssertionError(f"the server did not get ready:\n{self.stderr}")
        if not self.port_file.exists():
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.stderr}")
        addresses = dict(line.split() for line in self.port_file.read_text().splitlines())
        self.grpc_address = addresses["grpc"]
        self.metrics_address = addresses.get("metrics")

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._folder.cleanup()

    @property
    def stdout(self):
        return (self.port_file.parent / "stdout").read_text()

    @property
    def stderr(self):
        return (self.port_file.parent / "stderr").read_text()

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds=EXIT_SECONDS):
        """The exit code."""
        return self.process.wait(timeout=seconds)

    def metrics(self):
        """All of /metrics: {"name{labels}": value}."""
        values = {}
        for line in self.metrics_text().splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        return values

    def metrics_text(self):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{self.metrics_address}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def strata(self, command, *arguments, stdin=None, check=True):
        """Runs `strata COMMAND --server ...` to its end; returns a CompletedProcess of text."""
        result = subprocess.run(self._strata_line(command, arguments), input=stdin or "", text=True,
                                capture_output=True, timeout=READY_SECONDS, check=False,
                                env=_environment())
        if check and result.returncode != 0:
            raise AssertionError(f"strata {command} ended with {result.returncode}:\n"
                                 f"{result.stdout}{result.stderr}")
        return result

    def start_strata(self, command, *arguments):
        """The same, running beside the test: a Popen with pipes of text."""
        return subprocess.Popen(self._strata_line(command, arguments), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=_environment())

    def _strata_line(self, command, arguments):
        return [BIN / "strata", command, "--server", self.grpc_address, *arguments]


def run_server(*flags, environment=None):
    """Runs a server that is expected to end by itself; returns a CompletedProcess of text."""
    return subprocess.run([BIN / "strata-server", *flags], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=READY_SECONDS, check=False,
                          env=_environment(environment))


def wait_until(condition, seconds):
    """Whether `condition` came true in that time, or SLOWDOWN times that."""
    deadline = time.monotonic() + seconds * SLOWDOWN
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()
