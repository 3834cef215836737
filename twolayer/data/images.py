"""IDX, the format of MNIST and Fashion-MNIST: a big-endian header (two zero bytes, the type of the numbers, the count
of axes, the length of each axis) and the numbers. Uncompressed files are mapped, never loaded.

CIFAR-10's binary version: rows of 3,073 bytes, the label then 32 x 32 pixels in a red, a green and a blue plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.files import file_size, is_gzipped, read_bytes
from twolayer.utils.npy import map_array
from twolayer.utils.text import data_error

MAX_AXES = 8
TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> NDArray[Any]:
    """The array in an IDX file, plain (then mapped and read-only) or gzipped.

    Raises:
        DataError: for a wrong magic number or a size that the file does not have.
    """
    if is_gzipped(path):
        content = read_bytes(path)
        dtype, shape = _header(content[: 4 + 4 * MAX_AXES], len(content), path)
        return np.frombuffer(content, dtype, offset=4 + 4 * len(shape)).reshape(shape)
    size = file_size(path)
    with path.open("rb") as file:
        dtype, shape = _header(file.read(4 + 4 * MAX_AXES), size, path)
    return map_array(path, dtype, shape, offset=4 + 4 * len(shape))


def _header(start: bytes, size: int, path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Type and shape, if a file of `size` bytes holds just that."""
    if len(start) < 4:
        raise data_error(path, "an IDX file, which begins with a magic number of 4 bytes", f"{size} bytes")
    zeros, kind, n_axes = start[:2], start[2], start[3]
    if zeros != b"\0\0" or kind not in TYPES or not 0 < n_axes <= MAX_AXES:
        wanted = "0x00000803 (images of bytes), 0x00000801 (labels) or another IDX type"
        raise data_error(path, wanted, f"magic number 0x{start[:4].hex()}")
    if len(start) < 4 + 4 * n_axes:
        raise data_error(path, f"a header of {4 + 4 * n_axes} bytes, as there are {n_axes} axes", f"{size} bytes")
    shape = tuple(int.from_bytes(start[at : at + 4], "big") for at in range(4, 4 + 4 * n_axes, 4))
    dtype = np.dtype(TYPES[kind])
    announced, there = math.prod(shape) * dtype.itemsize, size - 4 - 4 * n_axes
    if announced != there:
        times = " x ".join(f"{length:,}" for length in shape)
        raise data_error(path, f"{announced:,} bytes of data, as its header announces {times}", f"{there:,}")
    if not announced:
        raise data_error(path, "at least one row of at least one number", f"axes of {shape}")
    return dtype, shape


SIDE, COLOURS, CLASSES = 32, 3, 10
ROW_BYTES = 1 + COLOURS * SIDE * SIDE


def read_cifar(paths: Sequence[Path]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The images and labels of one or more files, e.g. the five data_batch_*.bin, one after the other.

    Returns:
        images (N, 32, 32, 3), the colours of a pixel side by side, and labels (N,) from 0 to 9.

    Raises:
        DataError: if a file is no whole number of rows, or a label is above 9.
    """
    contents = [_rows(path) for path in paths]
    n_rows = sum(map(len, contents))
    images = np.empty((n_rows, SIDE, SIDE, COLOURS), np.uint8)
    labels = np.empty(n_rows, np.uint8)
    at = 0
    for rows in contents:
        part = slice(at, at + len(rows))
        labels[part] = rows[:, 0]
        images[part] = rows[:, 1:].reshape(-1, COLOURS, SIDE, SIDE).transpose(0, 2, 3, 1)
        at += len(rows)
    return images, labels


def _rows(path: Path) -> NDArray[Any]:
    content = read_bytes(path)
    if not content or len(content) % ROW_BYTES:
        raise data_error(
            path, f"CIFAR-10's binary version: rows of {ROW_BYTES:,} bytes, at least one", f"{len(content):,} bytes"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, ROW_BYTES)
    bad = np.flatnonzero(rows[:, 0] >= CLASSES)
    if len(bad):
        raise data_error(f"{path}, row {bad[0]}", "0 to 9", f"label {rows[bad[0], 0]}", "CIFAR-100 has another form")
    return rows
