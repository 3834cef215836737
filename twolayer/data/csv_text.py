"""A CSV file as text: comma-separated, UTF-8, with or without a header, cells quoted or not; and its rows' lines."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from twolayer.data.digits import line_blocks
from twolayer.data.files import read_bytes
from twolayer.utils.text import fault

MISSING_CELLS = frozenset(("", "NA", "N/A", "NaN", "nan", "NULL", "null", "?"))

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_BOM = b"\xef\xbb\xbf"
_BLOCK = 4096  # rows


def number_of(cell: str) -> float | None:
    """A cell as a finite number, NaN if it is missing, None if it is neither."""
    if _NUMBER.fullmatch(cell):
        value = float(cell)
        return None if math.isinf(value) else value
    return math.nan if cell.strip() in MISSING_CELLS else None


class CsvText:
    """The text of a CSV file.

    Attributes:
        where: the file, for messages.
        first: the cells of the first row.
        is_number: for each of them, whether it is a number.

    Raises:
        DataError: if it is empty, or no text of comma-separated cells.
    """

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._content = _checked(read_bytes(path), self.where)
        self.first, _, self._lines_of_first = next(self._records(), ([], 0, 0))
        if not self.first:
            raise fault(self.where, "an empty file", "rows of comma-separated cells")
        if len(self.first) == 1 and (other := next((mark for mark in ";\t|" if mark in self.first[0]), None)):
            how = f"sep={other!r}" + (", decimal=','" if other == ";" else "")
            way = f"pandas.read_csv({path.name!r}, {how}).to_csv('commas.csv', index=False) writes such a file"
            raise fault(f"{self.where}:1", f"no commas, but {other!r}", f"cells separated by commas; {way}")
        self.is_number = [_NUMBER.fullmatch(cell) is not None for cell in self.first]

    def line_blocks(self, has_header: bool) -> Iterator[bytes] | None:
        """The lines behind the header, in blocks; None if they may hold quoted cells or other line ends."""
        content = self._content
        returns = content.count(b"\r")
        if returns and returns != content.count(b"\r\n"):  # a line may end at a lone one, and below only \n counts
            return None
        start = 0
        for _ in range(self._lines_of_first if has_header else 0):
            start = content.find(b"\n", start) + 1 or len(content)
        if content.find(b'"', start) >= 0:
            return None
        if returns:
            content, start = content[start:].replace(b"\r\n", b"\n"), 0
        return line_blocks(content, start)

    def row_blocks(self, width: int, has_header: bool) -> Iterator[list[list[str]]]:
        """The rows behind the header, cut by the csv module, in blocks.

        Raises:
            DataError: for a row that has not `width` cells, or a quote that is not closed.
        """
        reader = csv.reader(self._text(), strict=True)
        skip = has_header
        try:
            while block := list(islice(reader, _BLOCK)):
                rows = [row for row in block if row]
                if set(map(len, rows)) - {width}:
                    self.raise_fault(width)
                if skip and rows:
                    del rows[0]
                    skip = False
                yield rows
        except csv.Error:
            self.raise_fault(width)

    def rows_of(self, block: bytes, width: int) -> list[list[str]]:
        """The rows of a block of lines without quotes; faults as for `row_blocks`."""
        try:
            rows = [row for row in csv.reader(io.StringIO(block.decode(), newline=""), strict=True) if row]
        except csv.Error:
            self.raise_fault(width)
        if set(map(len, rows)) - {width}:
            self.raise_fault(width)
        return rows

    def raise_fault(self, width: int) -> None:
        """Raises DataError for the first row that has not `width` cells, or cannot be cut into cells."""
        for row, line, _ in self._records():
            if len(row) != width:
                found = f"{len(row)} cell{'s' if len(row) != 1 else ''}"
                raise fault(f"{self.where}:{line}", found, f"{width}, as in the first row")

    def place(self, row: int, has_header: bool) -> str:
        """`file:line`, where row number `row` behind the header begins."""
        _, line, _ = next(islice(self._records(), row + has_header, None))
        return f"{self.where}:{line}"

    def _records(self) -> Iterator[tuple[list[str], int, int]]:
        """(row, its first line, its last line) for all rows that are not blank, the header too."""
        reader = csv.reader(self._text(), strict=True)
        line = 1
        try:
            for row in reader:
                if row:
                    yield row, line, reader.line_num
                line = reader.line_num + 1
        except csv.Error as error:
            raise fault(f"{self.where}:{line}", f"{error}", "cells, quoted ones closed by one quote") from None

    def _text(self) -> io.TextIOWrapper:
        return io.TextIOWrapper(io.BytesIO(self._content), encoding="utf-8", newline="")


def _checked(content: bytes, where: str) -> bytes:
    """The content without a byte order mark, if it is UTF-8 text."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise fault(where, "UTF-16 text", "UTF-8; save it as 'CSV UTF-8'")
    if b"\0" in content:
        raise fault(where, "binary data", "a CSV file in UTF-8")
    if not content.isascii():
        try:
            content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise fault(
                f"{where}:{line}", f"byte 0x{content[error.start]:02x}", "UTF-8 text; save it as 'CSV UTF-8'"
            ) from None
    return content.removeprefix(_BOM)
