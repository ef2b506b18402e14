"""strata-loadtest as a process, beside the other scripts of this folder."""

import csv
import json
import pathlib
import subprocess
import tempfile

from server_process import BIN


class LoadProcess:
    """One run against `server` of the kinds of requests in `mix`; `arguments` as on the command
    line."""

    def __init__(self, server, mix, *arguments):
        self._folder = tempfile.TemporaryDirectory(prefix="strata-load-")
        folder = pathlib.Path(self._folder.name)
        self._json, self._csv = folder / "report.json", folder / "calls.csv"
        (folder / "mix.json").write_text(json.dumps(mix))
        self._process = subprocess.Popen(
            [BIN / "strata-loadtest", "run", "--server", server.grpc_address, "--quiet", "--mix",
             folder / "mix.json", "--json", self._json, "--csv", self._csv,
             *map(str, arguments)], stdout=subprocess.DEVNULL)

    @property
    def running(self):
        return self._process.poll() is None

    def finish(self):
        """Waits; the run as its JSON report has it, and in "rows" what the CSV has of each call."""
        if self._process.wait() != 0:
            raise SystemExit(f"strata-loadtest ended with {self._process.returncode}")
        run = json.loads(self._json.read_text())["runs"][0]
        with open(self._csv, newline="", encoding="utf-8") as file:
            run["rows"] = list(csv.DictReader(file))
        self._folder.cleanup()
        return run


def run_load(server, mix, *arguments):
    return LoadProcess(server, mix, *arguments).finish()
