"""Certificates of a test's own, by the openssl command."""

import pathlib
import subprocess


def openssl(*arguments):
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True,
                          stdin=subprocess.DEVNULL).stdout


class Certificates:
    """Makes NAME.pem and NAME.key in a folder."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def pem(self, name):
        return self.folder / f"{name}.pem"

    def key(self, name):
        return self.folder / f"{name}.key"

    def make_ca(self, name):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-subj", f"/CN={name}", "-keyout", self.key(name), "-out",
                self.pem(name))

    def make(self, name, ca, algorithm=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
        """A certificate for this machine, signed by `ca`."""
        request = self.folder / f"{name}.csr"
        openssl("req", "-newkey", *algorithm, "-nodes", "-subj", f"/CN={name}", "-keyout",
                self.key(name), "-out", request)
        names = self.folder / "names"
        names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl("x509", "-req", "-in", request, "-extfile", names, "-CA", self.pem(ca), "-CAkey",
                self.key(ca), "-CAcreateserial", "-days", "2", "-out", self.pem(name))
