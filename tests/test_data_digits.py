"""digits: plain numbers come out of bytes as float() reads them, and nothing else comes out at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twolayer.data import csv_reader as digits
from twolayer.data.csv_reader import cut_cells, line_blocks, plain_numbers


def numbers_in(lines: list[list[str]]) -> np.ndarray | None:
    block = "".join(",".join(line) + "\n" for line in lines).encode()
    cells = cut_cells(block, len(lines[0]))
    return None if cells is None else plain_numbers(block, *cells)


def is_plain(cell: str) -> bool:
    """As the docstring says, in other words than the code."""
    body = cell[1:] if cell.startswith("-") else cell
    whole, _, rest = body.partition(".")
    both = whole + rest
    return both.isascii() and both.isdigit() and len(both) <= digits.MOST_DIGITS


WHOLE = st.integers(-(10**15) + 1, 10**15 - 1).map(str)
DECIMAL = st.from_regex(r"-?([0-9]{1,7}\.[0-9]{0,8}|\.[0-9]{1,15})", fullmatch=True)


@pytest.mark.parametrize("cells", [WHOLE, st.integers(0, 16).map(str), DECIMAL, WHOLE | DECIMAL])
def test_plain_numbers_are_float_s_to_the_last_bit(cells):
    @settings(deadline=None)
    @given(lines=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=20))
    def check(lines):
        got = numbers_in([list(line) for line in lines])
        assert got is not None
        want = np.array([[float(cell) for cell in line] for line in lines])
        np.testing.assert_array_equal(got.view(np.int64), want.view(np.int64))

    check()


@settings(deadline=None)
@given(cell=st.text(alphabet="0123456789.-+eE _x\t", max_size=18))
def test_a_cell_gives_a_number_just_if_it_is_plain(cell):
    got = numbers_in([["1", cell], ["2.5", "-3"]])
    if is_plain(cell):
        assert got is not None
        assert got[0, 1] == float(cell)
    else:
        assert got is None


@settings(deadline=None)
@given(lines=st.lists(st.lists(st.sampled_from(["", "a", "12", "é"]), min_size=1, max_size=4), min_size=1, max_size=6))
def test_lines_are_cut_where_the_commas_are_or_not_at_all(lines):
    block = "".join(",".join(line) + "\n" for line in lines).encode()
    width = len(lines[0])
    cells = cut_cells(block, width)
    if any(len(line) != width for line in lines) or (width == 1 and [""] in lines):
        assert cells is None
        return
    got = [
        [block[a:b].decode() for a, b in zip(*row, strict=True)]
        for row in zip(*map(np.ndarray.tolist, cells), strict=True)
    ]
    assert got == lines


@settings(deadline=None)
@given(
    lines=st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"")), max_size=30),
    size=st.integers(1, 40),
)
def test_blocks_are_whole_lines_and_nothing_is_lost(lines, size):
    content = b"\n".join([b"header", *lines])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "_BLOCK_BYTES", size)
        blocks = list(line_blocks(content, len(b"header\n")))
    assert all(block.endswith(b"\n") for block in blocks)
    whole = b"".join(blocks)
    assert whole.removesuffix(b"\n") == b"\n".join(lines).removesuffix(b"\n")
