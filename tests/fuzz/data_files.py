"""Small good data files of every format, and how they come to harm: in their bytes, or inside their packing."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.mutate import damaged

Files = dict[str, bytes]
"""Contents by name, before a name's packing (.gz) is applied."""

CSV = [b",", b",,", b"\n", b"\r", b"\r\n", b'"', b'""', b"NA", b"?", b"nan", b"inf", b"-Infinity", b"1e999", b"1e-999",
       b"9" * 400, b"-", b".", b"e", b" ", b";", b"\t", b"\x00", b"\xef\xbb\xbf", b"\xff\xfe", b"\xe9", b"\xc3\xa9",
       "٣".encode(), b"0x1f", b"1_000", b"=1+1", b"kind", b"red", b"x" * 3000, b"1," * 50]  # fmt: skip
NPY = [b"\x93NUMPY", b"\x01\x00", b"\x02\x00", b"v\x00", b"'descr'", b"'|O'", b"'<f8'", b"'<U9'", b"'<M8[s]'", b"True",
       b"(9999999999999,)", b"(0, 3)", b"(-1,)", b"()", b"{", b"}", b"cos\nsystem\n(S'true'\ntR."]  # fmt: skip
BINARY = [b"\x00\x00\x08\x03", b"\x00\x00\x0e\x01", b"\xff\xff\xff\xff", b"\x7f\xc0\x00\x00", b"\x1f\x8b\x08\x00",
          b"PK\x03\x04", b"PK\x05\x06", b"\x00" * 16, b"\x7f\xff\xff\xff"]  # fmt: skip


def _csv(rng: np.random.Generator) -> tuple[Files, dict[str, Any]]:
    """Return a table with a header, mixed columns, missing cells and quotes in turn."""
    end = str(rng.choice(["\n", "\r\n"]))
    quote = str(rng.choice(["", "", '"']))

    def table(n: int) -> bytes:
        lines = ["size,weight,colour,kind"]
        for _ in range(n):
            size = "" if missing != "refuse" and rng.integers(9) == 0 else f"{rng.normal():.3f}"
            cells = [
                size,
                str(rng.integers(-9, 99)),
                str(rng.choice(["red", "dark green"])),
                str(rng.choice(["a", "b", "c"])),
            ]
            lines.append(",".join(f"{quote}{cell}{quote}" for cell in cells))
        return (end.join(lines) + end * int(rng.integers(2))).encode()

    missing = str(rng.choice(["refuse", "drop", "mean"]))
    name = str(rng.choice(["t.csv", "t.csv.gz"]))
    files, keys = {name: table(30)}, {"train": name, "label": "kind", "categorical": ["colour"], "missing": missing}
    if rng.integers(3) == 0:
        part = str(rng.choice(["test", "validation"]))
        files["more.csv"], keys[part] = table(8), "more.csv"
    return files, keys


def _plain_csv(rng: np.random.Generator) -> tuple[Files, dict[str, Any]]:
    """Return numbers alone, perhaps without a header: what the quick reader takes."""
    rows = "".join(
        f"{a},{b:.2f},{c}\n"
        for a, b, c in zip(rng.integers(0, 17, 40), rng.normal(size=40), rng.integers(0, 3, 40), strict=True)
    )
    head = str(rng.choice(["", "a,b,y\n"]))
    return {"t.csv": (head + rows).encode()}, {"train": "t.csv", "label": -1}


def _idx_bytes(array: np.ndarray[Any, Any], code: int) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.tobytes()


def _idx(rng: np.random.Generator) -> tuple[Files, dict[str, Any]]:
    """Return images and labels as MNIST has them, packed or not."""
    end = str(rng.choice(["", ".gz"]))
    images = _idx_bytes(rng.integers(0, 256, (20, 3, 4)).astype(">u1"), 0x08)
    if rng.integers(4) == 0:
        images = _idx_bytes(rng.normal(size=(20, 5)).astype(">f4"), 0x0D)
    labels = _idx_bytes(np.arange(20).astype(">u1") % 3, 0x08)
    names = {"features": f"x-ubyte{end}", "labels": f"y-ubyte{end}"}
    return {names["features"]: images, names["labels"]: labels}, {"train": names}


def _npy_bytes(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _npy(rng: np.random.Generator) -> tuple[Files, dict[str, Any]]:
    X = rng.normal(size=(20, 3)).astype(str(rng.choice(["f4", "f8", ">f8", "i2"])))
    y = (np.arange(20) % 3).astype(str(rng.choice(["i8", "u1", "f8", "U3"])))
    return {"X.npy": _npy_bytes(X), "y.npy": _npy_bytes(y)}, {"train": {"features": "X.npy", "labels": "y.npy"}}


def _npz(rng: np.random.Generator) -> tuple[Files, dict[str, Any]]:
    """Return an archive; its members are harmed one time in two, else the archive."""
    X, y = rng.normal(size=(20, 3)).astype("f4"), np.arange(20) % 3
    members = {"X.npy": _npy_bytes(X), "y.npy": _npy_bytes(y)}
    if rng.integers(2):
        chosen = str(rng.choice(list(members)))
        members[chosen] = damaged(members[chosen], rng, NPY)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if rng.integers(2) else zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return {"t.npz": file.getvalue()}, {"train": "t.npz"}


def _cifar(rng: np.random.Generator) -> tuple[Files, dict[str, Any]]:
    rows = rng.integers(0, 256, (12, 3073)).astype(np.uint8)
    rows[:, 0] = np.arange(12) % 4
    return {"batch.bin": rows.tobytes()}, {"train": "batch.bin"}


MAKERS: list[Callable[[np.random.Generator], tuple[Files, dict[str, Any]]]] = [
    _csv,
    _plain_csv,
    _idx,
    _npy,
    _npz,
    _cifar,
]
"""Each makes files and the keywords of `load_dataset` that read them, names in place of paths."""


def write_broken(files: Files, folder: Path, rng: np.random.Generator) -> Path:
    """Write the files, one of them damaged, and returns that one. A packed file is damaged before or after packing."""
    chosen = str(rng.choice(sorted(files)))
    for name, content in files.items():
        tokens = CSV if ".csv" in name else NPY if name.endswith((".npy", ".npz")) else BINARY
        harmed, packed = name == chosen, name.endswith(".gz")
        inside = harmed and (not packed or rng.integers(2) == 0)
        content = damaged(content, rng, tokens) if inside else content
        content = gzip.compress(content, mtime=0) if packed else content
        (folder / name).write_bytes(damaged(content, rng, BINARY) if harmed and not inside else content)
    return folder / chosen
