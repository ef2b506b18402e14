"""A server with all that metrics tell of: TLS, tenants, speculation of every kind, and load on it."""

import contextlib
import hashlib
import json
import pathlib
import subprocess
import tempfile

from certificates import Certificates
from server_process import BIN, ServerProcess

# The greedy tenant may have one call running and one waiting: more are refused.
CREDENTIALS = """
[[tenant]]
name = "patient"
[[tenant.token]]
name = "patient"
sha256 = "{patient}"
[[tenant]]
name = "greedy"
max_running = 1
max_queued = 1
[[tenant.token]]
name = "greedy"
sha256 = "{greedy}"
"""
TENANTS = ("patient", "greedy")

# A prompt that calls share, so that the prefix cache has it.
TEXT = "import os\nimport sys\n\n\ndef main(argv):\n    for name in argv[1:]:\n        print(name)\n"
MIX = [
    {"name": "auto", "weight": 3, "max_new_tokens": [16, 64],
     "request": {"text": TEXT, "stopping": {"ignoreEos": True}, "speculation": {"auto": {}}}},
    {"name": "deep", "weight": 1, "max_new_tokens": [16, 64],
     "request": {"text": TEXT, "speculation": {"fixed": {"exitLayer": 8, "numDraftTokens": 4}}}},
    {"name": "shallow", "weight": 1, "max_new_tokens": [16, 64],
     "request": {"text": TEXT, "speculation": {"fixed": {"exitLayer": 4, "numDraftTokens": 2}}}},
    {"name": "plain", "weight": 1, "prompt_tokens": [20, 100], "max_new_tokens": 16,
     "request": {"sampling": {"temperature": 0.8}, "speculation": {"off": {}}}},
    {"name": "gone", "weight": 1, "max_new_tokens": 200, "cancel": 1, "request": {"text": TEXT}},
]


class BusyServer(contextlib.ExitStack):
    """`with BusyServer() as busy:` a server that is ready; `server` is its process."""

    def __enter__(self):
        super().__enter__()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self):
        self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        self.certificates = Certificates(self.folder)
        self.certificates.make_ca("ca")
        self.certificates.make("server", "ca")
        hashes = {}
        for tenant in TENANTS:
            (self.folder / tenant).write_text(f"token-of-{tenant}\n")
            hashes[tenant] = hashlib.sha256(f"token-of-{tenant}".encode()).hexdigest()
        credentials = self.folder / "credentials.toml"
        credentials.write_text(CREDENTIALS.format(**hashes))
        (self.folder / "mix.json").write_text(json.dumps(MIX))
        self.server = self.enter_context(ServerProcess(
            "--tls-cert", self.certificates.pem("server"), "--tls-key",
            self.certificates.key("server"), "--credentials", credentials, "--audit-log",
            self.folder / "audit.jsonl"))

    def identity(self, tenant):
        """Flags of a client that calls as `tenant`."""
        return "--tls-ca", self.certificates.pem("ca"), "--token-file", self.folder / tenant

    def _start_load(self, tenant, seconds):
        return self.enter_context(subprocess.Popen(
            [BIN / "strata-loadtest", "run", "--server", self.server.grpc_address,
             *self.identity(tenant), "--quiet", "--concurrency", "4", "--duration", str(seconds),
             "--mix", self.folder / "mix.json"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))

    @contextlib.contextmanager
    def load(self, seconds):
        """All tenants call for so long, unless the block ends before."""
        clients = [self._start_load(tenant, seconds) for tenant in TENANTS]
        try:
            self.server.strata("generate", *self.identity("patient"), "--top-p", "2", "x",
                               check=False)
            yield
        finally:
            for client in clients:
                client.terminate()
                client.communicate(timeout=60)
