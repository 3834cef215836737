"""Data files written by hand, byte by byte, in the formats as they are published."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np


def idx_bytes(array: np.ndarray) -> bytes:
    """IDX as described on MNIST's page: 0 0, type, number of axes, big-endian axes, big-endian numbers."""
    code = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}[array.dtype.str[1:]]
    head = struct.pack(">BBBB", 0, 0, code, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(path: Path, content: str | bytes) -> Path:
    """A file of this content, gzipped if its name ends in .gz."""
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


def csv(folder: Path, text: str, name: str = "t.csv") -> str:
    """The path of a CSV file with this text."""
    return str(write(folder / name, text))


def pair(folder: Path, X: np.ndarray, y: np.ndarray, ending: str = "") -> dict[str, str]:
    """The source of two IDX files with these rows and labels."""
    return {
        "features": str(write(folder / f"x-ubyte{ending}", idx_bytes(X))),
        "labels": str(write(folder / f"y-ubyte{ending}", idx_bytes(y))),
    }


def all_rows(rows, dtype=np.float32) -> np.ndarray:
    """All rows of a Rows as an array."""
    out = np.empty(rows.shape, dtype)
    rows.take(np.arange(rows.shape[0]), out)
    return out
