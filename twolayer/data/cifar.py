"""CIFAR-10's binary version: rows of 3,073 bytes, the label then 32 x 32 pixels in a red, a green and a blue plane."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.files import read_bytes
from twolayer.utils.text import fault

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
        raise fault(
            path, f"{len(content):,} bytes", f"CIFAR-10's binary version: rows of {ROW_BYTES:,} bytes, at least one"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, ROW_BYTES)
    bad = np.flatnonzero(rows[:, 0] >= CLASSES)
    if len(bad):
        raise fault(f"{path}, row {bad[0]}", f"label {rows[bad[0], 0]}", "0 to 9; CIFAR-100 has another form")
    return rows
