"""Copies of models/demo for tests to damage."""

import json
import pathlib
import shutil
import struct
import tempfile

from server_process import DEMO_MODEL


class CheckpointCopy:
    """A folder that holds the demo model until the test changes it."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="strata-checkpoint-")
        self.path = pathlib.Path(self._folder.name) / "model"
        shutil.copytree(DEMO_MODEL, self.path, copy_function=shutil.copyfile)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self._folder.cleanup()

    @property
    def weights(self):
        return self.path / "model.safetensors"

    def edit_json(self, name, **changes):
        """Sets these fields; those set to ... are removed."""
        file = self.path / name
        content = json.loads(file.read_text())
        for key, value in changes.items():
            if value is ...:
                del content[key]
            else:
                content[key] = value
        file.write_text(json.dumps(content))

    def edit_tensors(self, edit):
        """Rewrites the weights' header by edit(header), leaving the data as it is."""
        content = self.weights.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8:8 + length])
        edit(header)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        self.weights.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length:])

    def truncate_weights(self, size_bytes):
        with open(self.weights, "r+b") as file:
            file.truncate(size_bytes)

    def overwrite_weights(self, content):
        """Replaces the first bytes."""
        with open(self.weights, "r+b") as file:
            file.write(content)
