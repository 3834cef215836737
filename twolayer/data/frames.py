"""Tables that come with types: data frames of pandas, polars and Arrow, Parquet and Feather files, Excel sheets."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.data.cells import Reading, canonical, clean
from twolayer.data.columns import require_distinct, unique_names
from twolayer.data.csv_reader import is_header
from twolayer.data.files import Format, file_size
from twolayer.utils.errors import import_extra
from twolayer.utils.files import unpacked_limit
from twolayer.utils.text import data_error, shown


class Frame:
    """Columns that already have types, each made an Arrow array when it is asked for.

    Attributes:
        where: the source, for messages.
        names: the columns' names, each different; None if they have positions only.
        width: number of columns.
        decimal: the decimal point of texts.
        notes: what was decided about an Excel sheet, in words.
    """

    decimal = "."

    def __init__(
        self, where: str, names: Sequence[str] | None, column: Callable[[int], Any], width: int, length: int
    ) -> None:
        self.where, self.width, self.notes = where, width, list[str]()
        self.names = None if names is None else unique_names([clean(name) for name in names])
        self._column, self._length = column, length

    def columns(self, numbers: Collection[int], texts: Collection[int], coded: bool = False) -> dict[int, Any]:
        """Return some columns as pyarrow ChunkedArrays, by position.

        Raises:
            DataError: for a column of lists or other things that are no cells, or no rows.
        """
        if not self._length:
            raise data_error(self.where, "at least one row", "no rows")
        return {at: self._arrow(at) for at in (*numbers, *texts)}

    def place(self, row: int) -> str:
        """Return words for a row, counted from 0."""
        return f"{self.where}, row {row}" if self.where != "rows" else f"row {row}"

    def cell(self, row: int, position: int) -> str:
        """Return a cell as text."""
        return canonical(self._arrow(position)[row].as_py())

    def _arrow(self, at: int) -> Any:
        import pyarrow as pa

        column = self._column(at)
        if not isinstance(column, pa.ChunkedArray):
            column = pa.chunked_array([_array_of(column)])
        kind = column.type
        if pa.types.is_nested(kind):
            place = f"{self.where}: column {shown(self.names[at] if self.names else at)}"
            raise data_error(place, "numbers, texts or booleans", f"cells of type {kind}")
        simple = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
        if simple or pa.types.is_null(kind) or pa.types.is_dictionary(kind):
            return column
        return column.cast(pa.float64() if pa.types.is_decimal(kind) else pa.large_string())


def _array_of(values: Any) -> Any:
    """A column of pandas or NumPy as an Arrow array; cells of mixed types become texts."""
    import pyarrow as pa

    try:
        made = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, ValueError, OverflowError):
        return pa.array([_text_or_none(value) for value in values], pa.string())
    return made.combine_chunks() if isinstance(made, pa.ChunkedArray) else made


def _text_or_none(value: Any) -> str | None:
    if value is None or repr(value) in ("<NA>", "NaT") or (isinstance(value, float) and value != value):
        return None
    return canonical(value.item() if isinstance(value, np.generic) else value)


def is_frame(X: Any) -> bool:
    """Return whether rows are a data frame, with columns that may have names."""
    return hasattr(X, "columns") or hasattr(X, "__arrow_c_stream__") or hasattr(X, "__arrow_c_array__")


def frame_of(X: Any, where: str = "rows") -> Frame:
    """Return the table of a data frame, or of an array or list of rows (N, columns) without names.

    Raises:
        DataError: for anything else.
    """
    if hasattr(X, "iloc") and hasattr(X, "columns"):  # pandas: its index is no column
        names = [str(name) for name in X.columns]
        return Frame(where, names, lambda at: X.iloc[:, at], len(names), len(X))
    if is_frame(X):
        import pyarrow as pa

        try:
            return _frame_of_table(where, pa.table(X))
        except (TypeError, pa.ArrowException) as error:
            raise data_error(where, "a frame of pandas, polars or Arrow", f"a {type(X).__name__} ({error})") from None
    cells = np.asarray(X, None if isinstance(X, np.ndarray) else object)
    if cells.ndim != 2:
        raise data_error(where, "rows of cells, shape (N, columns)", f"shape {cells.shape}")
    return Frame(where, None, lambda at: cells[:, at], cells.shape[1], len(cells))


def _frame_of_table(where: str, table: Any) -> Frame:
    return Frame(where, table.column_names, table.column, table.num_columns, table.num_rows)


def read_frame(path: Path, form: Format, reading: Reading, has_names: bool) -> Frame:
    """Read a Parquet, Feather or Arrow file, or the first sheet of an Excel workbook.

    Whether the sheet's first row is a header is what `reading` says, or `has_names`: the config names a column.

    Raises:
        DataError: if it cannot be read as such.
        MissingExtraError: for a workbook, if python-calamine is not installed.
    """
    if form == "excel":
        return _read_workbook(path, reading, has_names)
    import pyarrow as pa

    try:
        if form == "parquet":
            from pyarrow.parquet import read_table
        else:
            from pyarrow.feather import read_table

        return _frame_of_table(str(path), read_table(path, use_threads=False))
    except (pa.ArrowException, OSError, ValueError) as error:
        found = f"cannot be read as {form} ({str(error).splitlines()[0][:80]})"
        raise data_error(path, "a whole file", found) from None


def _read_workbook(path: Path, reading: Reading, has_names: bool) -> Frame:
    calamine = import_extra("python_calamine", "excel", f"{path}: an Excel workbook")
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > unpacked_limit(file_size(path)):
        raise data_error(path, "a smaller one, or CSV", f"a workbook that unpacks to {unpacked:,} bytes")
    try:
        rows = calamine.CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python()
    except Exception as error:
        raise data_error(path, "a whole .xlsx file", f"cannot be read as a workbook ({str(error)[:80]})") from None
    cells = [[canonical(value) for value in row] for row in rows]
    cells = [row for row in cells if any(row)]
    if not cells:
        raise data_error(path, "rows of cells", "an empty sheet")
    width = len(cells[0])
    why, header = "", has_names if reading.header is None else reading.header
    if reading.header is None and not has_names:
        header, why = is_header(cells[0], cells[1:100], reading)
    rows = cells[1 if header else 0 :]
    frame = Frame(str(path), cells[0] if header else None, lambda at: [row[at] for row in rows], width, len(rows))
    if why:
        frame.notes.append(f"{path}: the first row is taken for {'names' if header else 'data'}, as {why}")
    return frame


def frame_bytes(X: Any) -> bytes:
    """Return a data frame as a Parquet file that is read as the frame is.

    Raises:
        DataError: for something that is no data frame.
    """
    if not is_frame(X):
        raise data_error("rows", "a data frame of pandas, polars or Arrow", f"a {type(X).__name__}")
    frame = frame_of(X)
    names = frame.names or ()
    require_distinct("rows", names, ())
    columns = frame.columns([], range(frame.width))
    return _parquet({name: columns[at] for at, name in enumerate(names)})


def parquet_bytes(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Return a Parquet file of rows; probabilities, written as texts, become numbers."""
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return _parquet(
        {
            name: list(map(float, column)) if name.startswith("p(") else list(column)
            for name, column in zip(names, columns, strict=True)
        }
    )


def _parquet(columns: Mapping[str, Any]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(pa.table(dict(columns)), out)
    return out.getvalue()
