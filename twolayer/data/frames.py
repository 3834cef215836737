"""Tables that come with types: data frames of pandas, polars and Arrow, Parquet and Feather files, Excel sheets; and
from pyarrow's columns to arrays of numbers, labels and categories.

pyarrow's own `to_numpy`, and its scalars, would import pandas; the buffers of a column are read here."""

import functools
import io
import re
import zipfile
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from twolayer.data.columns import Reading, canonical, clean, is_frame, number_of, number_of_value, unique_names, word_of
from twolayer.data.csv_reader import decide_header
from twolayer.data.files import Format, file_size, open_file
from twolayer.data.labels import MISSING, Label, Labels, require_few
from twolayer.network.model import Array
from twolayer.utils.errors import DataError, import_extra
from twolayer.utils.files import UNPACKED_RATIO, unpacked_limit
from twolayer.utils.text import data_error, shown

_PART_ROWS = 1 << 16
_TEXTS = ("string", "large_string", "string_view")
_CELL_NAME = re.compile(rb"""\br\s*=\s*["']([A-Za-z]{1,3})([0-9]{1,7})["']""")


class Frame:
    """Columns that have types, each made an Arrow array when it is asked for; the attributes are those of `CsvFile`."""

    decimal = "."

    def __init__(
        self, where: str, names: Sequence[str] | None, column: Callable[[int], Any], width: int, length: int
    ) -> None:
        self.where, self.width, self.notes = where, width, list[str]()
        self.names = None if names is None else unique_names([clean(name) for name in names])
        self._column, self._length = column, length

    def columns(self, numbers: Collection[int], texts: Collection[int], coded: bool = False) -> dict[int, Any]:
        """Return some columns as ChunkedArrays, by position; raises DataError for cells such as lists, or no rows."""
        if not self._length:
            raise data_error(self.where, "at least one row", "no rows")
        return {at: self._arrow(at) for at in (*numbers, *texts)}

    def every_column(self) -> dict[int, Any]:
        """Return all columns; those of other things than cells are empty, and `notes` names them."""
        found = {}
        for at in range(self.width):
            try:
                found[at] = self._arrow(at)
            except DataError as error:
                self.notes.append(f"{error}; it is left out")
                found[at] = pa.chunked_array([pa.nulls(self._length)])
        return found

    def place(self, row: int) -> str:
        """Return words for a row, counted from 0."""
        return f"{self.where}, row {row}" if self.where != "rows" else f"row {row}"

    def cell(self, row: int, position: int) -> str:
        """Return a cell as text."""
        return canonical(self._arrow(position)[row].as_py())

    def _arrow(self, at: int) -> Any:
        column = self._column(at)
        if not isinstance(column, pa.ChunkedArray):
            column = pa.chunked_array([_array_of(column)])
        try:
            return _plain(column)
        except pa.ArrowException:
            place = f"{self.where}: column {shown(self.names[at] if self.names else at)}"
            raise data_error(place, "numbers, texts or booleans", f"cells of type {column.type}") from None


def _plain(column: Any) -> Any:
    """Return a pyarrow column as numbers, booleans or texts; raise ArrowException if it holds none."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        if str(kind.value_type) in _TEXTS and not any(chunk.dictionary.null_count for chunk in column.chunks):
            return column
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return column
    if pa.types.is_nested(kind) or _has_no_text(kind):
        raise pa.ArrowTypeError(str(kind))
    text = column.cast(pa.large_string())
    if pa.types.is_temporal(kind):  # the same time in microseconds and in nanoseconds
        from pyarrow import compute

        text = compute.replace_substring_regex(text, r"(?:\.|(\.\d*[1-9]))0+([^\d]|$)", r"\1\2")
    return text


def _has_no_text(kind: Any) -> bool:
    """Return whether Arrow writes values of a type as bare integers or bytes, without their unit or meaning."""
    return pa.types.is_duration(kind) or isinstance(kind, pa.BaseExtensionType)


def _array_of(values: Any) -> Any:
    """Return a column of pandas or NumPy as an Arrow array; cells of mixed types become texts."""
    with suppress(pa.ArrowException, TypeError, ValueError, OverflowError):
        made = pa.array(values, from_pandas=True)
        if not _has_no_text(getattr(made.type, "value_type", made.type)):
            return made.combine_chunks() if isinstance(made, pa.ChunkedArray) else made
    return pa.array([_text_or_none(value) for value in values], pa.string())


def _text_or_none(value: Any) -> str | None:
    if value is None or repr(value) in ("<NA>", "NaT") or (isinstance(value, float) and value != value):
        return None
    text = canonical(value.item() if isinstance(value, np.generic) else value)
    return text.encode(errors="backslashreplace").decode()  # half of a surrogate pair is no text in UTF-8


def frame_of(X: Any, where: str = "rows") -> Frame:
    """Return the table of a data frame, or of an array or list of rows (N, columns) without names; raises DataError."""
    if hasattr(X, "iloc") and hasattr(X, "columns"):  # pandas: its index is no column
        names = [str(name) for name in X.columns]
        return Frame(where, names, lambda at: X.iloc[:, at], len(names), len(X))
    if is_frame(X):
        try:
            table = pa.table(X)
        except (TypeError, pa.ArrowException) as error:
            raise data_error(where, "a frame of pandas, polars or Arrow", f"a {type(X).__name__} ({error})") from None
        columns = [at for at, name in enumerate(table.column_names) if not name.startswith("__index_level_")]
        names = [table.column_names[at] for at in columns]
        frame = Frame(where, names, lambda at: table.column(columns[at]), len(names), table.num_rows)
        if len(names) < table.num_columns:
            frame.notes.append(f"{where}: the index that pandas stored is no column")
        return frame
    cells = np.asarray(X, None if isinstance(X, np.ndarray) else object)
    if cells.ndim != 2:
        raise data_error(where, "rows of cells, shape (N, columns)", f"shape {cells.shape}")
    return Frame(where, None, lambda at: cells[:, at], cells.shape[1], len(cells))


def read_frame(path: Path, form: Format, reading: Reading, has_names: bool) -> Frame:
    """Read a Parquet, Feather or Arrow file, or the first sheet of an Excel workbook.

    Whether the sheet's first row is a header is what `reading` says, or `has_names`: the config names a column.

    Raises:
        DataError: if it cannot be read as such.
        MissingExtraError: for a workbook, if python-calamine is not installed.
    """
    if form == "excel":
        return _read_workbook(path, reading, has_names)
    from pyarrow import ipc, parquet

    limit, size, parts = unpacked_limit(file_size(path)), 0, []
    batches: Iterable[Any]
    try:
        with open_file(path) as source:
            if form == "parquet":
                schema = parquet.read_schema(source)
                texts = [field.name for field in schema if _is_text(field.type)]
                batches = parquet.ParquetFile(source, read_dictionary=texts).iter_batches(_PART_ROWS, use_threads=False)
            else:
                file = ipc.open_file(source)
                schema, batches = file.schema, map(file.get_batch, range(file.num_record_batches))
            for batch in batches:  # within the limit: a value can be stored once for all rows
                size += sum(map(_plain_bytes, batch.columns))
                if size > limit:
                    found = f"more than {limit:,} bytes packed in {file_size(path):,}"
                    raise data_error(path, f"at most {UNPACKED_RATIO} times the packed size", found, "write it as CSV")
                parts.append(batch)
        return frame_of(pa.Table.from_batches(parts, parts[0].schema if parts else schema).cast(schema), str(path))
    except (pa.ArrowException, OSError, ValueError) as error:
        found = f"cannot be read as {form} ({str(error).splitlines()[0][:80]})"
        raise data_error(path, "a whole file", found) from None


def _is_text(kind: Any) -> bool:
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary))


def _plain_bytes(array: Any) -> int:
    """Return the bytes of an Arrow array, each text of a dictionary counted where it occurs."""
    from pyarrow import compute

    if not pa.types.is_dictionary(array.type) or not _is_text(array.type.value_type):
        return int(array.nbytes)
    return int(compute.sum(compute.binary_length(array.dictionary).take(array.indices)).as_py() or 0)


def _read_workbook(path: Path, reading: Reading, has_names: bool) -> Frame:
    calamine = import_extra("python_calamine", "excel", f"{path}: an Excel workbook")
    limit = unpacked_limit(file_size(path))
    try:
        with open_file(path) as source:
            packed = io.BytesIO(source.read(limit + 1))  # checked and parsed from the same bytes
        with zipfile.ZipFile(packed) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
            if unpacked > limit:
                raise data_error(path, "a smaller one, or CSV", f"a workbook that unpacks to {unpacked:,} bytes")
            area = max(_cells_of(archive.read(info)) for info in archive.infolist())
        if 8 * area > limit:  # calamine takes memory for each cell, empty or not
            raise data_error(path, "a sheet without cells far outside of its table", f"an area of {area:,} cells")
        packed.seek(0)
        book = calamine.CalamineWorkbook.from_filelike(packed)
        rows = book.get_sheet_by_index(0).to_python()
    except DataError:
        raise
    except Exception as error:
        raise data_error(path, "a whole .xlsx file", f"cannot be read as a workbook ({str(error)[:80]})") from None
    texts = ([clean(value) if isinstance(value, str) else canonical(value) for value in row] for row in rows)
    cells = [row for row in texts if any(row)]
    if not cells:
        raise data_error(path, "rows of cells in the first sheet", "an empty one")
    notes: list[str] = []
    header = decide_header(str(path), cells[:100], reading, has_names, notes)
    first, rows = cells[0], cells[header:]
    frame = Frame(str(path), first if header else None, lambda at: [row[at] for row in rows], len(first), len(rows))
    frame.notes += notes
    if len(book.sheet_names) > 1:
        frame.notes.append(f"{path}: of {len(book.sheet_names)} sheets the first is read, {shown(book.sheet_names[0])}")
    return frame


def _cells_of(sheet: bytes) -> int:
    """Return the area from A1 to the last row and column that a sheet's XML names."""
    right, bottom = b"", 0
    for name in _CELL_NAME.finditer(sheet):
        right = max(right, name[1].upper(), key=lambda letters: (len(letters), letters))
        bottom = max(bottom, int(name[2]))
    return bottom * functools.reduce(lambda column, letter: 26 * column + letter - 64, right, 0)


def frame_bytes(X: Any) -> bytes:
    """Return a data frame as a Parquet file that is read as the frame is; raises DataError."""
    if not is_frame(X):
        raise data_error("rows", "a data frame of pandas, polars or Arrow", f"a {type(X).__name__}")
    frame = frame_of(X)
    return parquet_bytes(frame.names or (), frame.every_column().values())


def parquet_bytes(names: Sequence[str], columns: Iterable[Any]) -> bytes:
    """Return a Parquet file of columns, pyarrow's or tuples of cells; `names` are theirs."""
    from pyarrow import parquet

    out = io.BytesIO()
    arrays = [pa.array(column) if isinstance(column, tuple) else column for column in columns]
    parquet.write_table(pa.table(arrays, names=list(names)), out)
    return out.getvalue()


def numpy_of(column: Any, missing: float) -> Array:
    """Return a pyarrow column of float64, int64 or int32 as an array (N,), `missing` where null."""
    dtype = np.dtype({"double": np.float64, "int64": np.int64, "int32": np.int32}[str(column.type)])
    parts = [np.empty(0, dtype)]
    for chunk in getattr(column, "chunks", [column]):
        if not len(chunk):
            continue
        rows = slice(chunk.offset, chunk.offset + len(chunk))
        validity, values = chunk.buffers()
        part = np.frombuffer(values, dtype)[rows]
        if chunk.null_count:
            is_valid = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[rows]
            part = np.where(is_valid, part, dtype.type(missing))
        parts.append(part)
    return parts[1] if len(parts) == 2 else np.concatenate(parts)


def encoded(column: Any) -> tuple[NDArray[np.integer[Any]], Any]:
    """Return the codes (N,) of a pyarrow column, -1 where null, and its different values as an Array."""
    if pa.types.is_null(column.type):  # whose dictionaries pyarrow cannot unify
        column = column.cast(pa.string())
    whole = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    whole = whole.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0)
    indices = whole.indices if whole.indices.type == pa.int32() else whole.indices.cast(pa.int64())
    return numpy_of(indices, MISSING), whole.dictionary


def numbers_of(column: Any, reading: Reading, decimal: str, give_up: bool = False) -> tuple[Array, int | None]:
    """Return a pyarrow column's numbers (N,), NaN where missing, and the first row that has no number, if any.

    With `give_up`, a single text among the first values ends it, without a look at the others.
    """
    if pa.types.is_floating(column.type) or (decimal == "." and not pa.types.is_dictionary(column.type)):
        with suppress(pa.ArrowInvalid):
            if column.type != pa.float64():  # `cast` loads pyarrow.compute
                column = column.cast(pa.float64(), safe=False)
            return numpy_of(column, np.nan), None
    codes, values = encoded(column)
    if give_up and any(number_of_value(value, reading, decimal) is None for value in values[:50].to_pylist()):
        return np.empty(0), 0
    numbers = [number_of_value(value, reading, decimal) for value in values.to_pylist()]
    known = np.array([*(np.nan if number is None else number for number in numbers), np.nan])
    bad = np.array([*(number is None for number in numbers), False])[codes]
    return known[codes], int(np.argmax(bad)) if bad.any() else None


def labels_of_column(column: Any, reading: Reading, decimal: str, name: str, most: int) -> Labels:
    """Return the labels, or categories, in a pyarrow column (N,): integers if all are, otherwise texts.

    Values that are equal are one label, however they are written.

    Raises:
        DataError: if there are more than `most` of them.
    """
    codes, distinct = encoded(column)
    used = int((np.bincount(codes + 1)[1:] > 0).sum())
    if used > 20 * most + len(reading.missing):  # before all are turned into words
        require_few(used, name, most)
    labels = labels_of_codes(codes, distinct, reading, decimal)
    require_few(len(labels.values), name, most)
    return labels


def labels_of_codes(codes: NDArray[np.integer[Any]], distinct: Any, reading: Reading, decimal: str) -> Labels:
    """Return the labels (N,) that `codes` (N,), -1 where missing, have in a pyarrow Array of different raw values."""
    used = np.bincount(codes + 1, minlength=len(distinct) + 1)[1:].tolist()
    raw = distinct.to_pylist()
    words = [word_of(value, reading, decimal) if count else "" for value, count in zip(raw, used, strict=True)]
    values = _in_order(set(words) - {""})
    index = {str(value): k for k, value in enumerate(values)} | {"": MISSING}
    mapping = np.array([*(index[word] for word in words), MISSING], np.int32)  # code -1: the last
    return Labels(mapping[codes], tuple(values))


def _in_order(words: set[str]) -> list[Label]:
    """Return distinct canonical values in ascending order: integers, numbers as texts, or texts."""
    digits = [word.removeprefix("-") for word in words]
    if all(word.isascii() and word.isdigit() and len(word) <= 18 for word in digits):
        return sorted(map(int, words))
    numbers = [(number, word) for word in words if (number := number_of(word)) is not None]
    return [word for _, word in sorted(numbers)] if len(numbers) == len(words) else sorted(words)
