"""Reads and writes bf16 safetensors files with numpy alone, one tensor at a time."""

import json
import math
import pathlib
import struct
from collections.abc import Callable, Iterator

import numpy as np

Shape = tuple[int, ...]


def to_bf16(values: np.ndarray) -> np.ndarray:
    """f32 to the bits of bf16 (uint16), rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def write(path: pathlib.Path, shapes: dict[str, Shape], make: Callable[[str], np.ndarray]) -> None:
    """Writes tensors of `shapes` as bf16; `make` gives the f32 values of one, in its turn."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            values = make(name)
            if values.shape != shape:
                raise ValueError(f"{name}: made {values.shape}, wants {shape}")
            to_bf16(values).tofile(file)


def read(path: pathlib.Path) -> Iterator[tuple[str, np.ndarray]]:
    """Each tensor's name and f32 values; bf16, f16 and f32 files."""
    with path.open("rb") as file:
        header_bytes = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(header_bytes))
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype = {"BF16": np.uint16, "F16": np.float16, "F32": np.float32}[entry["dtype"]]
        raw = np.memmap(path, dtype, "r", 8 + header_bytes + entry["data_offsets"][0],
                        tuple(entry["shape"]))
        yield name, from_bf16(raw) if dtype is np.uint16 else raw.astype(np.float32)
