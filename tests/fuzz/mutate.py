"""Random damage to bytes: what disks, editors, networks and people with bad intentions do to files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

COUNTS = [0, 1, 2, 127, 128, 255, 256, 65535, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]


def damaged(content: bytes, rng: np.random.Generator, tokens: Sequence[bytes]) -> bytes:
    """Return `content` after a few random edits.

    Args:
        content: good bytes.
        rng: draws the edits.
        tokens: pieces that mean something in the format, to be put in.
    """
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        _edit(data, rng, tokens)
    return bytes(data)


def _edit(data: bytearray, rng: np.random.Generator, tokens: Sequence[bytes]) -> None:
    at = int(rng.integers(len(data) + 1))
    length = int(rng.integers(1, 80))
    match int(rng.integers(8)):
        case 0:
            data[at : at + 1] = bytes([rng.integers(256)])
        case 1 if at < len(data):
            data[at] ^= 1 << int(rng.integers(8))
        case 2 | 3:
            data[at:at] = tokens[int(rng.integers(len(tokens)))] * int(rng.choice([1, 1, 2, 30]))
        case 4:
            del data[at : at + length]
        case 5:
            start = int(rng.integers(len(data) + 1))
            data[at:at] = data[start : start + length]
        case 6:
            data[at : at + 4] = int(rng.choice(COUNTS)).to_bytes(4, "big" if rng.integers(2) else "little")
        case 7 if rng.integers(4) == 0:
            del data[at:]
