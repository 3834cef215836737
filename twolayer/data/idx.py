"""IDX files, plain or gzipped, as MNIST and Fashion-MNIST are published.

Two zero bytes, a byte for the type, a byte for the number of dimensions, each size as four bytes, the numbers, all
most significant byte first. A plain file is mapped, never loaded."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.packed import open_limited
from twolayer.errors import DataError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> NDArray[Any]:
    """The array in an IDX file, of the sizes its header gives.

    Raises:
        DataError: for a wrong magic number, or more or fewer bytes than the header announces.
    """
    with open_limited(path) as file:
        head = file.read(4)
        if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in TYPES or head[3] == 0:
            raise DataError(
                f"{path}: not an IDX file: it starts with {head.hex(' ') or 'nothing'}, wanted 00 00 TYPE SIZES"
            )
        sizes = file.read(4 * head[3])
        if len(sizes) < 4 * head[3]:
            raise DataError(f"{path}: truncated: the header ends after {4 + len(sizes)} bytes")
        shape = struct.unpack(f">{head[3]}I", sizes)
        dtype = np.dtype(TYPES[head[2]])
        wanted, offset = math.prod(shape) * dtype.itemsize, 4 + len(sizes)
        file.require(wanted, f"the header announces {'x'.join(map(str, shape))} numbers, {wanted:,} bytes")
        if not wanted:
            raise DataError(f"{path}: empty: the header announces {'x'.join(map(str, shape))} numbers")
        if file.mappable:
            return np.memmap(path, dtype, mode="r", offset=offset, shape=shape)
        return np.frombuffer(file.read(wanted), dtype).reshape(shape)
