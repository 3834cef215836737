"""Text tables through pyarrow: one record a line, cells separated by commas, tabs, semicolons or bars.

Columns of numbers are parsed as such in one pass. Only if a cell does not fit are they read again as text, where every
spelling of `columns` counts. Line numbers are worked out only for a message."""

import csv
import io
import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv as pa_csv

from twolayer.data.columns import Reading, clean, number_of, plain_number, unique_names
from twolayer.data.files import BOM, read_bytes, refuse_foreign
from twolayer.utils.text import counted, data_error, shown

SEPARATORS = ",\t;|"
MAX_COLUMNS = 1_000_000
_SAMPLE_BYTES = 1 << 14
_SAMPLE_LINES = 3  # at least, where lines are long
_MOST_BLOCK = (1 << 31) - 1  # bytes, pyarrow's limit


class CsvFile:
    """A text table whose lines are cut into cells; nothing below the first lines is parsed before `columns`.

    Raises:
        DataError: if the file is empty, or no text of separated cells.
    """

    def __init__(self, path: Path, reading: Reading) -> None:
        self.where, self.reading = str(path), reading
        self.notes: list[str] = []  # what was decided about the file, in words
        self._content = _text(path, reading.encoding)
        if not self._content or self._content.isspace():
            raise data_error(self.where, "rows of separated cells", "an empty file")
        end = self._content.find(b"\n") + 1 or len(self._content)
        marks = max(self._content.count(mark.encode(), 0, end) for mark in SEPARATORS)
        if marks >= MAX_COLUMNS:  # before they are cut
            way = "save the numbers as an array (N, D) in a .npy file"
            raise data_error(f"{path}:1", f"at most {MAX_COLUMNS:,} columns", f"{marks + 1:,}", way)
        lines = _first_lines(self._content)
        self.separator = reading.separator or _detect_separator(lines, self.where)
        self.sample = [row for row in _rows(lines, self.separator) if row]
        self.decimal = reading.decimal or self._detect_decimal()
        self.first = self.sample[0] = [clean(cell) for cell in self.sample[0]]
        self.width = len(self.first)
        self.names: tuple[str, ...] | None = None  # of the columns, each different; None without a header
        self._start = 0  # of the first row, in bytes
        self._require_table()

    def set_header(self, header: bool) -> None:
        """Take the first record for names, or for a row."""
        if header:
            self.names = unique_names(self.first)
            _, _, n_lines = next(self._records())
            for _ in range(n_lines):
                self._start = self._content.find(b"\n", self._start) + 1 or len(self._content)

    def columns(self, numbers: Collection[int], texts: Collection[int], coded: bool = False) -> dict[int, Any]:
        """Return some columns as pyarrow ChunkedArrays, by position.

        Those of `numbers` are float64 if all of their cells are plain numbers, otherwise all are strings; `coded` asks
        for strings in dictionaries, for columns that repeat few of them.

        Raises:
            DataError: for a row that is too short or too long, a quote that is not closed, or no rows.
        """
        text = dict.fromkeys(texts, pa.dictionary(pa.int32(), pa.string()) if coded else pa.string())
        try:
            columns = self._parse(dict.fromkeys(numbers, pa.float64()) | text)
        except pa.ArrowInvalid:
            columns = self._parse(dict.fromkeys(numbers, pa.string()) | text)
        if not len(next(iter(columns.values()))):
            raise data_error(self.where, "at least one row", "a header and no rows" if self.names else "no rows")
        return columns

    def place(self, row: int) -> str:
        """Return `file:line` of the beginning of a row, counted from 0 behind the header."""
        return f"{self.where}:{next(islice(self._records(), row, None))[1]}"

    def cell(self, row: int, position: int) -> str:
        """Return a cell as it is written."""
        return next(islice(self._records(), row, None))[0][position]

    def _records(self, strict: bool = False) -> Iterator[tuple[list[str], int, int]]:
        """Yield the cells and the numbers of the first and the last line of each record that is not blank."""
        file = io.BytesIO(self._content)
        file.seek(self._start)
        before = last = self._content.count(b"\n", 0, self._start)
        reader = csv.reader(io.TextIOWrapper(file, "utf-8", newline=""), delimiter=self.separator, strict=strict)
        try:
            for cells in reader:
                first, last = last + 1, before + reader.line_num
                if cells:
                    yield cells, first, last
        except csv.Error as error:
            expected = f"cells of at most {csv.field_size_limit():,} letters"
            if strict:
                expected = "cells, quoted ones closed by one quote"
            raise data_error(f"{self.where}:{last + 1}", expected, str(error)) from None

    def _parse(self, types: dict[int, Any]) -> dict[int, Any]:
        bad: list[Any] = []

        def refuse(row: Any) -> str:
            bad.append(row)
            return "error"

        quoted = self._content.find(b'"', self._start) >= 0
        if quoted and self._content.count(b'"', self._start) % 2:
            for _ in self._records(strict=True):  # a quote that is not closed would take all lines behind it
                pass
        names = [str(at) for at in range(self.width)]
        content = pa.py_buffer(self._content)[self._start :]
        block = max(1 << 20, 32 * max(map(len, _first_lines(self._content))))  # each block costs work for each column
        parse = pa_csv.ParseOptions(
            delimiter=self.separator, newlines_in_values=quoted, invalid_row_handler=refuse, ignore_empty_lines=True
        )
        convert = pa_csv.ConvertOptions(
            column_types={str(at): kind for at, kind in types.items()},
            include_columns=[str(at) for at in types],
            null_values=list(self.reading.missing_values),
            strings_can_be_null=True,
            decimal_point=self.decimal,
            check_utf8=False,
        )
        while True:
            read = pa_csv.ReadOptions(use_threads=False, column_names=names, block_size=min(block, _MOST_BLOCK))
            try:
                table = pa_csv.read_csv(content, read, parse, convert)
                return {at: table.column(str(at)) for at in types}
            except pa.ArrowInvalid as error:
                if bad:
                    row, expected, hint = bad[0], f"{counted(self.width, 'cell')}, as in the first line", ""
                    if row.actual_columns == self.width + 1 and row.text.rstrip().endswith(self.separator):
                        hint = f"the line ends in {self.separator!r}: remove the separator at the end of each line"
                    elif self.separator == "," and row.actual_columns > self.width and '"' not in row.text:
                        hint = "a cell that holds a comma needs quotes around it"
                    raise data_error(self.place(row.number - 1), expected, str(row.actual_columns), hint) from None
                if str(error).startswith("Empty CSV"):
                    raise data_error(self.where, "at least one row", "a header and no rows") from None
                if "straddling" not in str(error) or block > len(self._content):
                    raise
                block *= 8

    def _detect_decimal(self) -> str:
        if self.separator == ",":
            return "."
        cells = [clean(cell) for row in self.sample for cell in row]
        dotted = [cell for cell in cells if "." in cell and number_of(cell) is not None]
        if self.separator == ";" and len(dotted) > 2 and all(len(cell.partition(".")[2]) == 3 for cell in dotted):
            note = f"{dotted[0]} is read with a decimal point; if it separates thousands, remove it"
            self.notes.append(f"{self.where}: {note}")
        commas = [cell for cell in cells if "," in cell and number_of(cell, ",") is not None]
        if dotted or all("." not in (plain_number(cell) or ".") for cell in commas):  # they may separate thousands
            return "."
        self.notes.append(f"{self.where}: decimal commas; data.decimal overrules it")
        return ","

    def _require_table(self) -> None:
        """Refuse lines before the header and a separator at the end of each line."""
        counts = Counter(len(row) for row in self.sample[1:])
        usual = counts.most_common(1)[0][0] if counts else self.width
        text = self.separator.join(self.first)
        if usual != self.width and counts[usual] > 1 and self.width < usual:
            if not any(len(row) == usual and row[-1].strip() for row in self.sample[1:]):
                hint = f"the lines end in {self.separator!r}: remove the separator at the end of each line"
            else:
                hint = "remove the lines before the table, or name each column"
            raise data_error(f"{self.where}:1", f"{usual} cells, as in the lines below", shown(text), hint)
        if self.width > 1 and not any(len(row) == self.width and row[-1].strip() for row in self.sample):
            mark = f"a {self.separator!r} at the end of each line"
            raise data_error(f"{self.where}:1", "no separator behind the last cell", mark, "remove it")


def decide_header(
    where: str, rows: list[list[str]], reading: Reading, has_names: bool, notes: list[str], decimal: str = "."
) -> bool:
    """Return whether the first of some rows is a header: as `reading` says, or the config calls columns by names, or by
    the rows; then note why where they leave it open.

    Raises:
        DataError: for a title above it: a row that is half empty, and one of plain names, without a gap, soon below it.
    """
    if reading.header is not None:
        return reading.header
    first, *below = rows
    header, why = (True, "") if has_names else _is_header(first, below, reading.missing, decimal)
    if header and 2 * sum(map(bool, first)) <= len(first):
        for at, row in enumerate(below[:5], start=1):
            names, rest = [clean(cell) for cell in row], below[at:]
            full = len(names) == len(first) and all(names) and len(rest) > 2
            if full and _is_header(names, rest, reading.missing, decimal) == (True, ""):
                title = next(filter(None, first), "")
                raise data_error(f"{where}:1", "names of columns", shown(title), "remove the lines before the table")
    if why:
        what = "names" if header else "a row of data"
        notes.append(f"{where}: the first line is taken for {what}, as {why}; data.header overrules it")
    return header


def _is_header(first: list[str], rows: list[list[str]], missing: frozenset[str], decimal: str) -> tuple[bool, str]:
    """Return whether a table's first record holds names, by it and some rows below; and why, "" where it is plain.

    Numbers are names only if they count the columns (0, 1, 2, ...), or if they rise by equal steps and the texts beside
    them, or without texts they themselves, never occur below. Texts are names unless they occur below or twice.
    """
    below = [[clean(row[at]) if at < len(row) else "" for row in rows] for at in range(len(first))]
    is_number = [number_of(cell, decimal) is not None for cell in first]
    recurs = [bool(cell) and cell in column for cell, column in zip(first, below, strict=True)]
    numbers = [cell for cell, number in zip(first, is_number, strict=True) if number]
    names = first[first[:1] == [""] :]  # the index of a data frame has no name
    if names and names == [str(at) for at in range(len(names))]:
        return True, "its cells count the columns"
    if numbers:
        texts = [at for at, cell in enumerate(first) if cell and not is_number[at]]
        if _counts_on(numbers, decimal) and not any(recurs[at] for at in texts):
            if texts:
                return True, "its numbers count on and its texts occur nowhere below"
            alone = not any(recurs) and not any(_counts_on(row, decimal) for row in rows)
            if alone and len(numbers) > 2 and len(rows) > 4:
                return True, "its numbers count on and occur nowhere below"
        return False, ""
    for cell, column in zip(first, below, strict=True):
        filled = [value for value in column if value not in missing]
        if cell and filled and all(number_of(value, decimal) is not None for value in filled):
            return True, ""
    given = [cell for cell in first if cell]
    if len(set(given)) < len(given):
        return False, "a text occurs in it twice"
    if any(recurs):
        return False, f"{shown(first[recurs.index(True)])} occurs below it as well"
    return True, "" if len(rows) < 3 else "its texts occur nowhere below"


def _counts_on(cells: Sequence[str], decimal: str) -> bool:
    """Return whether cells are numbers that rise by equal steps: two by 1, more by any, as years or wavelengths do."""
    numbers = [number_of(clean(cell), decimal) for cell in cells]
    values = [number for number in numbers if number is not None]
    steps = [second - first for first, second in pairwise(values)]
    if not steps or len(values) < len(numbers) or (len(steps) == 1 and steps[0] != 1):
        return False
    return steps[0] > 0 and all(math.isclose(step, steps[0], rel_tol=1e-6) for step in steps)


def _text(path: Path, encoding: str) -> bytes:
    """Return the content in UTF-8, without a byte order mark, its lines ended by a line feed or by both signs."""
    content = read_bytes(path)
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):  # a byte order mark, which nothing in UTF-8 begins with
        encoding = "utf-16"
    if encoding.lower().replace("_", "-") not in ("utf-8", "utf8", "utf-8-sig"):
        try:
            content = content.decode(encoding).encode()
        except (LookupError, UnicodeError) as error:
            raise data_error(path, f"text in data.encoding: {encoding}", f"{error}") from None
    refuse_foreign(path, content[:_SAMPLE_BYTES])
    if b"\0" in content:
        raise data_error(path, "a table as text, or a Parquet, Feather, xlsx, npz or IDX file", "binary data")
    if not content.isascii():
        try:
            content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            way = "save it as 'CSV UTF-8', or set data.encoding, e.g. latin-1"
            raise data_error(f"{path}:{line}", "UTF-8 text", f"byte 0x{content[error.start]:02x}", way) from None
    content = content.removeprefix(BOM)
    if b"\r" in content and content.count(b"\r") != content.count(b"\r\n"):
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return content


def _first_lines(content: bytes) -> list[str]:
    """Return the lines in the first bytes, at least a few, each with its end."""
    stop = 0
    for _ in range(_SAMPLE_LINES):
        stop = content.find(b"\n", stop) + 1 or len(content)
    stop = max(stop, content.rfind(b"\n", 0, _SAMPLE_BYTES) + 1)
    text = content[: stop if len(content) > _SAMPLE_BYTES else None].decode()
    return list(io.StringIO(text, newline=""))


def _rows(lines: Sequence[str], separator: str) -> list[list[str]]:
    try:
        return list(csv.reader(lines, delimiter=separator))
    except csv.Error:
        return [line.split(separator) for line in lines]


def _detect_separator(lines: Sequence[str], where: str) -> str:
    """Return the separator that gives most lines, the first among them, the same number of cells, more than one."""
    found: list[tuple[float, bool, bool, int, str]] = []
    for mark in SEPARATORS:
        if not any(mark in line for line in lines[:100]):
            continue
        rows = [row for row in _rows(lines, mark) if row]
        count, lines_of_it = Counter(map(len, rows)).most_common(1)[0]
        if count > 1:
            is_tidy = not any('"' in cell for row in rows[:100] for cell in row)  # no quote was cut in two
            found.append((round(lines_of_it / len(rows), 1), len(rows[0]) == count, is_tidy, count, mark))
            inner = [clean(cell) for row in rows for cell in row if "," in cell] if mark != "," else []
            if inner and all(number_of(cell, ",") is not None for cell in inner):
                found = [entry for entry in found if entry[-1] != ","]  # its commas are decimal points
    if found:
        return max(found)[-1]
    words = [line.split() for line in lines if line.strip()]
    if len(words) > 1 and len(words[0]) > 1 and len({len(row) for row in words[:100]}) == 1:
        way = "tr -s ' ' ',' < FILE > rows.csv"
        raise data_error(where, "a separator between cells", "columns separated by spaces", way)
    return ","
