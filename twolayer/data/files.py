"""From a path to its bytes: regular files only, unpacked if they are compressed, never more than their size warrants;
and what a file is, by its name and its first bytes.

A table's file can be cut into pieces that are read in any order: CSV at the ends of records, Parquet by its row groups.
A piece is written as a small file of the same format, so everything that reads a file reads a piece."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from twolayer.utils.files import UNPACKED_RATIO, open_to_read, sha256_of, unpacked_limit
from twolayer.utils.text import data_error

Format = Literal["csv", "parquet", "arrow", "excel", "npz", "npy", "idx", "cifar"]

_ENDINGS: dict[str, Format] = {
    ".npz": "npz", ".npy": "npy", ".bin": "cifar", ".parquet": "parquet", ".pq": "parquet", ".feather": "arrow",
    ".arrow": "arrow", ".ipc": "arrow", ".xlsx": "excel", ".xlsm": "excel",
}  # fmt: skip
TABLES: tuple[Format, ...] = ("csv", "parquet", "arrow", "excel")
_TABLE_STARTS: dict[bytes, Format] = {b"PAR1": "parquet", b"ARROW1": "arrow"}
_GZIP, _BZIP2, _ZSTD, _XZ = b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0"

# First bytes of files that are no table: (what it is, what to do).
_FOREIGN: tuple[tuple[bytes, str, str], ...] = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it with '7z x'"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "read it with h5py and save the arrays with numpy.savez"),
    (b"\xd0\xcf\x11\xe0", "an Excel file of the old kind (.xls)", "save it as .xlsx or CSV"),
    (b"SQLite format 3", "an SQLite database", "export the table as CSV: sqlite3 -header -csv FILE 'select ...'"),
    (b"FEA1", "a Feather file of version 1", "write it again with a current pyarrow"),
    (b"ORC", "an ORC file", "write it as Parquet"),
    (b"%PDF", "a PDF document", "export the table as CSV"),
    (b"\x89PNG", "a PNG image", "put the images into an array and save it with numpy.savez"),
    (b"\xff\xd8\xff", "a JPEG image", "put the images into an array and save it with numpy.savez"),
    (b"MATLAB 5.0", "a MATLAB file", "read it with scipy.io.loadmat and save the arrays with numpy.savez"),
    (b"\x93NUMPY", "a .npy array", "give it the ending .npy"),
    (b"version https://git-lfs", "a Git LFS pointer, not the data", "fetch the file itself: git lfs pull"),
)


def format_of(path: str | Path) -> Format:
    """Return the format that a file's name stands for; what is nothing else is csv."""
    name = str(path).lower()
    for ending, form in _ENDINGS.items():
        if name.endswith(ending):
            return form
    return "idx" if name.removesuffix(".gz").endswith(("ubyte", ".idx")) else "csv"


def table_format(path: Path) -> Format:
    """Return the format of a table by its first bytes, whatever its name; without them by its name."""
    with open_file(path) as file:
        start = file.read(8)
    for magic, form in _TABLE_STARTS.items():
        if start.startswith(magic):
            return form
    if start[:2] == b"PK":
        return "excel" if _is_workbook(path) else "csv"
    by_name = format_of(path)
    if by_name != "csv" and start:
        refuse_foreign(path, start)
        raise data_error(path, f"{by_name}, as its ending says", f"a file that begins with {start[:6]!r}")
    return "csv"


def file_size(path: Path) -> int:
    """Return the number of bytes in a regular file.

    Raises:
        DataError: if there is none.
    """
    try:
        if path.is_dir():
            raise data_error(path, "a data file", "a folder", "name one of the files in it")
        if path.exists() and not path.is_file():
            raise data_error(path, "a data file", "a device or a pipe")
        return path.stat().st_size
    except (OSError, ValueError) as error:
        raise data_error(path, "a data file", f"cannot be read ({getattr(error, 'strerror', None) or error})") from None


def open_file(path: Path) -> io.BufferedReader:
    """Open a regular file; see `open_to_read`.

    Raises:
        DataError: if it cannot be read, or its size is made of holes.
    """
    file_size(path)
    try:
        file = open_to_read(path, follow=True)
        file.peek(1)  # what a special file refuses, it refuses here
        return file
    except OSError as error:
        raise data_error(path, "a data file", f"cannot be read ({error.strerror})") from None


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    open_file(path).close()  # which says what it is, if it is no file
    return sha256_of(path)


def is_gzipped(path: Path) -> bool:
    """Return whether the file begins as gzip files do, whatever its name."""
    with open_file(path) as file:
        return file.read(2) == _GZIP


def read_bytes(path: Path) -> bytes:
    """Return the file's content, unpacked if it is compressed by gzip, bzip2, xz or zstd.

    Raises:
        DataError: if it cannot be read, is cut short or damaged, or unpacks to far more than its own size.
    """
    try:
        with open_file(path) as file:
            content = file.read()
    except OSError as error:
        raise data_error(path, "a data file", f"cannot be read ({error.strerror})") from None
    for magic, kind in ((_GZIP, "gzip"), (_BZIP2, "bzip2"), (_XZ, "xz"), (_ZSTD, "zstd")):
        if content.startswith(magic):
            return _unpack(content, kind, path)
    return content


def _unpack(packed: bytes, kind: str, path: Path) -> bytes:
    limit = unpacked_limit(len(packed))
    raw: Any = io.BytesIO(packed)
    try:
        if kind == "gzip":
            raw = gzip.GzipFile(fileobj=raw)
        elif kind == "bzip2":
            raw = bz2.BZ2File(raw)
        elif kind == "xz":
            raw = lzma.LZMAFile(raw)  # noqa: SIM115
        else:
            import pyarrow

            raw = pyarrow.CompressedInputStream(raw, "zstd")
        with raw as file:
            content: bytes = file.read(limit + 1)
    except EOFError:
        raise data_error(path, "a whole file", f"the {kind} file is cut short", "get or make it again") from None
    except (OSError, zlib.error, lzma.LZMAError) as error:
        raise data_error(
            path, "a whole file", f"the {kind} file is damaged ({error})", "get or make it again"
        ) from None
    if len(content) > limit:
        found = f"more than {limit:,} bytes packed in {len(packed):,}"
        raise data_error(
            path, f"at most {UNPACKED_RATIO} times the packed size", found, "unpack it yourself if you trust it"
        )
    return content


def _is_workbook(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def refuse_foreign(path: Path, content: bytes) -> None:
    """Name what a file is, if it is of a kind that is not read as a table.

    Raises:
        DataError: with a way to turn it into one.
    """
    table = "a table (CSV, Parquet, Feather, xlsx)"
    for magic, kind, way in _FOREIGN:
        if content.startswith(magic):
            raise data_error(path, table, kind, f"{way}")
    if content[:2] == b"PK":
        raise data_error(path, table, "a zip archive", "unpack it first (an npz needs the ending .npz)")
    if content[:1] == b"\x80" and content[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        raise data_error(
            path, table, "a pickle, which may run code when it is read", "write it with to_parquet or to_csv"
        )
    start = content[:4096].decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    lines = [line.strip() for line in start.splitlines() if line.strip()]
    if start[:1] == "<":
        raise data_error(path, table, "a web page or XML", "download the file itself, not the page that shows it")
    if start[:1] == "{" or start[:2] in ("[{", "[[") or (start[:1] == "[" and start[1:].lstrip()[:1] in "{["):
        way = "python -c \"import pandas; pandas.read_json('FILE').to_csv('rows.csv', index=False)\""
        raise data_error(path, table, "JSON", f"{way} (lines=True for one object a line)")
    if any(line.lower().startswith("@relation") for line in lines[:200]) and lines[0][:1] in "%@":
        raise data_error(path, table, "an ARFF file", "its lines after @data are CSV: name the columns in a first line")
    if lines and all(_is_svmlight(line) for line in lines[:3]):
        way = "read it with sklearn.datasets.load_svmlight_file and save X.toarray() and y with numpy.savez"
        raise data_error(path, table, "an svmlight (libsvm) file", f"{way}")


def _is_svmlight(line: str) -> bool:
    label, *pairs = line.split("#")[0].split()[:6] or [""]
    return bool(pairs) and label.lstrip("+-")[:1].isdigit() and all(pair.partition(":")[0].isdigit() and ":" in pair
                                                                   for pair in pairs)  # fmt: skip


PIECE_BYTES = 8 << 20  # of a file; smaller files are one piece
_PART_BYTES = 1 << 20
_ASCII_LIKE = ("utf-8", "utf8", "latin-1", "latin1", "iso-8859-1", "cp1252", "windows-1252", "ascii")


class Piece(NamedTuple):
    """A part of a file.

    Attributes:
        start, stop: bytes of a CSV file, the header left out, or numbers of row groups of a Parquet file, `stop` not
            included; both 0 for the whole file.
        header: bytes of a CSV file's header at its start.
        first_line: number of the line at `start` of a CSV file, from 1.
    """

    start: int = 0
    stop: int = 0
    header: int = 0
    first_line: int = 1


class CutFile(NamedTuple):
    """A file's pieces, in order, and the SHA-256 of its bytes."""

    pieces: tuple[Piece, ...]
    sha256: str


def cut(path: Path, *, has_header: bool, encoding: str = "utf-8", piece_bytes: int = PIECE_BYTES) -> CutFile:
    """Read a file once and return where it can be cut; the memory needed does not depend on its size.

    A CSV file is cut at line ends outside double quotes. Compressed files, and those in an encoding of several bytes
    per character other than UTF-8, are one piece.

    Args:
        path: the file.
        has_header: whether a CSV file's first record is its header.
        encoding: of a CSV file.
        piece_bytes: least size of a piece but the last.

    Raises:
        OSError: if it cannot be read.
    """
    name = path.name.lower()
    if name.endswith((".parquet", ".pq")):
        return CutFile(_row_groups(path, piece_bytes), sha256_of(path))
    is_text = name.endswith((".csv", ".tsv", ".txt", ".tab", ".data")) and encoding.lower() in _ASCII_LIKE
    if not is_text or path.stat().st_size <= piece_bytes:
        return CutFile((Piece(),), sha256_of(path))
    with path.open("rb") as file:
        return _cut_records(file, has_header, piece_bytes)


def write_piece(path: Path, piece: Piece, target: Path) -> None:
    """Write a piece that is not the whole file as a file of its own; raises OSError."""
    if path.name.lower().endswith((".parquet", ".pq")):
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            pq.write_table(file.read_row_groups(list(range(piece.start, piece.stop))), target)
    else:
        with path.open("rb") as source, target.open("wb") as out:
            for start, stop in ((0, piece.header), (piece.start, piece.stop)):
                source.seek(start)
                for at in range(start, stop, _PART_BYTES):
                    out.write(source.read(min(_PART_BYTES, stop - at)))


def _row_groups(path: Path, piece_bytes: int) -> tuple[Piece, ...]:
    """Return groups of neighbouring row groups of about the size of a piece."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            sizes = [file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)]
    except pa.ArrowException:  # the reader of the whole file will say what is wrong
        return (Piece(),)
    pieces, start, size = [], 0, 0
    for i, each in enumerate(sizes):
        size += each
        if size >= piece_bytes or i == len(sizes) - 1:
            pieces.append(Piece(start, i + 1))
            start, size = i + 1, 0
    return tuple(pieces) if len(pieces) > 1 else (Piece(),)


def _cut_records(file: BinaryIO, has_header: bool, piece_bytes: int) -> CutFile:
    """Return the pieces of a CSV file, cut at line ends where the number of double quotes before is even."""
    digest = hashlib.sha256()
    pieces: list[Piece] = []
    header = start = at = 0
    quotes, lines, first_line = 0, 1, 1
    looks_for_header = has_header
    while block := file.read(_PART_BYTES):
        digest.update(block)
        done = 0
        while done < len(block):
            # Up to where a cut may be, the block is only counted; from there every line end is looked at.
            rest = max(done, start + piece_bytes - at) if not looks_for_header else done
            end = block.find(b"\n", rest) + 1
            if not end:
                end = len(block)
            quotes += block.count(b'"', done, end)
            lines += block.count(b"\n", done, end)
            is_end = block[end - 1 : end] == b"\n" and quotes % 2 == 0
            done = end
            if is_end and looks_for_header:
                header = start = at + end
                first_line, looks_for_header = lines, False
            elif is_end and at + end - start >= piece_bytes:
                pieces.append(Piece(start, at + end, header, first_line))
                start, first_line = at + end, lines
        at += len(block)
    if at > start:
        pieces.append(Piece(start, at, header, first_line))
    return CutFile(tuple(pieces) or (Piece(),), digest.hexdigest())
