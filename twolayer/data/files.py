"""From a path to its bytes: regular files only, unpacked if they are compressed, never more than their size warrants;
and what a file is, by its name and its first bytes.

A table's file can be cut into pieces that are read in any order: CSV at the ends of records, Parquet by its row groups.
A piece is written as a small file of the same format, so everything that reads a file reads a piece."""

import bz2
import gzip
import hashlib
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from twolayer.utils.files import UNPACKED_RATIO, open_to_read, sha256_of, unpacked_limit
from twolayer.utils.text import data_error

Format = Literal["csv", "parquet", "arrow", "excel", "npz", "npy", "idx", "cifar"]

ENDINGS: dict[str, Format] = {
    ".npz": "npz", ".npy": "npy", ".bin": "cifar", ".parquet": "parquet", ".pq": "parquet", ".feather": "arrow",
    ".arrow": "arrow", ".ipc": "arrow", ".xlsx": "excel", ".xlsm": "excel",
}  # fmt: skip
TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".tab", ".data")
TABLES: tuple[Format, ...] = ("csv", "parquet", "arrow", "excel")
_TABLE_STARTS: dict[bytes, Format] = {b"PAR1": "parquet", b"ARROW1": "arrow"}
GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"

_PICKLE = "a pickle, which may run code when it is read", "write it with to_parquet or to_csv"
_JSON = "JSON", "pandas.read_json('FILE').to_csv('rows.csv', index=False) makes CSV (lines=True for one object a line)"
# First bytes, without white space, of files that are no table: (what it is, what to do).
_FOREIGN = {
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "unpack it with '7z x'"),
    b"PK\3\4": ("a zip archive", "unpack it first (an npz needs the ending .npz)"),
    b"\x89HDF": ("an HDF5 file", "read it with h5py and save the arrays with numpy.savez"),
    b"\xd0\xcf\x11\xe0": ("an Excel file of the old kind (.xls)", "save it as .xlsx or CSV"),
    b"SQLiteformat3": ("an SQLite database", "export the table as CSV: sqlite3 -header -csv FILE 'select ...'"),
    b"MATLAB5.0": ("a MATLAB file", "read it with scipy.io.loadmat and save the arrays with numpy.savez"),
    b"\x93NUMPY": ("a .npy array", "give it the ending .npy"),
    b"versionhttps://git-lfs": ("a Git LFS pointer, not the data", "fetch the file itself: git lfs pull"),
    b"<": ("a web page or XML", "download the file itself, not the page that shows it"),
    **dict.fromkeys((b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"), _PICKLE),
    **dict.fromkeys((b"{", b"[{", b"[["), _JSON),
}


def format_of(path: str | Path) -> Format:
    """Return the format that a file's name means; csv if it means no other."""
    name = str(path).lower()
    for ending, form in ENDINGS.items():
        if name.endswith(ending):
            return form
    return "idx" if name.removesuffix(".gz").endswith(("ubyte", ".idx")) else "csv"


def table_format(path: Path) -> Format:
    """Return the format of a table by its first bytes, whatever its name; without them by its name."""
    with open_file(path) as file:
        start = file.read(8)
    by_name = format_of(path)
    for magic, form in _TABLE_STARTS.items():
        if start.startswith(magic):
            return form
    if start[:2] == b"PK" and by_name == "excel":
        return "excel"
    if by_name != "csv" and start:
        refuse_foreign(path, start)
        raise data_error(path, f"{by_name}, as its ending says", f"a file that begins with {start[:6]!r}")
    return "csv"


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file; see `open_to_read`.

    Raises:
        DataError: if it cannot be read, or its size is made of holes.
    """
    try:
        with open_to_read(path, follow=True) as file:
            yield file
    except OSError as error:
        kind = str(error.strerror).partition(", got ")[2]
        way = "name one of the files in it" if kind == "a folder" else ""
        raise data_error(path, "a data file", kind or f"cannot be read ({error.strerror})", way) from None


def file_size(path: Path) -> int:
    """Return the number of bytes in a regular file; raises DataError."""
    with open_file(path) as file:
        return file.seek(0, io.SEEK_END)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a regular file, in hexadecimal; raises DataError."""
    with open_file(path):
        return sha256_of(path)


def _open_zstd(packed: BinaryIO) -> Any:
    import pyarrow

    return pyarrow.CompressedInputStream(packed, "zstd")


_PACKED: dict[bytes, tuple[str, Callable[[BinaryIO], Any]]] = {
    GZIP: ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ\0": ("xz", lzma.open),
    b"\x28\xb5\x2f\xfd": ("zstd", _open_zstd),
}


def read_bytes(path: Path) -> bytes:
    """Return the file's content, unpacked if it is compressed by gzip, bzip2, xz or zstd.

    Raises:
        DataError: if it cannot be read, is cut short or damaged, or unpacks to far more than its own size.
    """
    with open_file(path) as file:
        packed = file.read()
    kind, opened = next((how for magic, how in _PACKED.items() if packed.startswith(magic)), ("", None))
    if opened is None:
        return packed
    limit = unpacked_limit(len(packed))
    try:
        with opened(io.BytesIO(packed)) as file:
            content: bytes = file.read(limit + 1)
    except EOFError:
        raise data_error(path, "a whole file", f"the {kind} file is cut short", "get or make it again") from None
    except (OSError, zlib.error, lzma.LZMAError) as error:
        found = f"the {kind} file is damaged ({error})"
        raise data_error(path, "a whole file", found, "get or make it again") from None
    if len(content) > limit:
        expected = f"at most {UNPACKED_RATIO} times the packed size"
        found = f"more than {limit:,} bytes packed in {len(packed):,}"
        raise data_error(path, expected, found, "unpack it yourself if you trust it")
    return content


def refuse_foreign(path: Path, content: bytes) -> None:
    """Name what a file is, if it is of a kind that is not read as a table; raises DataError."""
    table = "a table (CSV, Parquet, Feather, xlsx)"
    content = content[:4096].removeprefix(BOM)
    packed = b"".join(content.split())
    for start, (kind, way) in _FOREIGN.items():
        if packed.startswith(start):
            raise data_error(path, table, kind, way)
    lines = [line for line in map(str.strip, content.decode("utf-8", "replace").splitlines()) if line]
    if any(line.lower().startswith("@relation") for line in lines[:200]) and lines[0][:1] in "%@":
        raise data_error(path, table, "an ARFF file", "its lines after @data are CSV: name the columns in a first line")
    if lines and all(_is_svmlight(line) for line in lines[:3]):
        way = "read it with sklearn.datasets.load_svmlight_file and save X.toarray() and y with numpy.savez"
        raise data_error(path, table, "an svmlight (libsvm) file", way)


def _is_svmlight(line: str) -> bool:
    label, *pairs = line.split("#")[0].split()[:6] or [""]
    is_sparse = all(":" in pair and pair.partition(":")[0].isdigit() for pair in pairs)
    return bool(pairs) and is_sparse and label.lstrip("+-")[:1].isdigit()


PIECE_BYTES = 8 << 20  # of a file; smaller files are one piece
_PART_BYTES = 1 << 20
_ASCII_LIKE = ("utf-8", "utf8", "latin-1", "latin1", "iso-8859-1", "cp1252", "windows-1252", "ascii")


class Piece(NamedTuple):
    """A part of a file: bytes `start` to `stop` of a CSV file, the header left out, or those row groups of a Parquet
    file, `stop` not included; both 0 for the whole file."""

    start: int = 0
    stop: int = 0
    header: int = 0  # bytes of a CSV file's header at its start
    first_line: int = 1  # number of the line at `start` of a CSV file, from 1


def cut(
    path: Path, *, has_header: bool, encoding: str = "utf-8", piece_bytes: int = PIECE_BYTES
) -> tuple[tuple[Piece, ...], str]:
    """Read a file once and return where it can be cut, into pieces of at least `piece_bytes` except the last.

    A CSV file is cut at line ends outside double quotes; the memory needed does not depend on its size. Compressed
    files, and those in an encoding of several bytes per character other than UTF-8, are one piece. Raises OSError.
    """
    if format_of(path) == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pieces, start, size = [], 0, 0
        sizes: list[int] = []
        with (
            suppress(pa.ArrowException),  # the reader of the whole file will say what is wrong
            open_to_read(path, follow=True) as source,
            pq.ParquetFile(source) as file,
        ):
            sizes = [file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)]
        for i, each in enumerate(sizes):
            size += each
            if size >= piece_bytes or i == len(sizes) - 1:
                pieces.append(Piece(start, i + 1))
                start, size = i + 1, 0
        return tuple(pieces) if len(pieces) > 1 else (Piece(),), sha256_of(path)
    is_text = path.name.lower().endswith(TEXT_ENDINGS) and encoding.lower() in _ASCII_LIKE
    if not is_text or path.stat().st_size <= piece_bytes:
        return (Piece(),), sha256_of(path)
    with open_to_read(path, follow=True) as file:
        if file.read(8).startswith((*_PACKED, *_TABLE_STARTS, b"PK", b"\xff\xfe", b"\xfe\xff")):  # whatever its name
            return (Piece(),), sha256_of(path)
        file.seek(0)
        return _cut_records(file, has_header, piece_bytes)


def piece_file(path: Path, piece: Piece, folder: Path) -> Path:
    """Return a file with just a piece's rows: the file itself, or a new one in `folder`; raises OSError."""
    if piece.stop == 0:
        return path
    target = folder / path.name
    if format_of(path) == "parquet":
        import pyarrow.parquet as pq

        with open_to_read(path, follow=True) as source, pq.ParquetFile(source) as file:
            pq.write_table(file.read_row_groups(list(range(piece.start, piece.stop))), target)
    else:
        with open_to_read(path, follow=True) as source, target.open("wb") as out:
            for start, stop in ((0, piece.header), (piece.start, piece.stop)):
                source.seek(start)
                for at in range(start, stop, _PART_BYTES):
                    out.write(source.read(min(_PART_BYTES, stop - at)))
    return target


def _cut_records(file: BinaryIO, has_header: bool, piece_bytes: int) -> tuple[tuple[Piece, ...], str]:
    """Return the pieces of a CSV file, cut at line ends where the number of double quotes before is even."""
    digest = hashlib.sha256()
    pieces: list[Piece] = []
    header = start = at = quotes = 0
    lines = first_line = 1
    least = 0 if has_header else piece_bytes  # the header is read line by line
    while block := file.read(min(least, _PART_BYTES)) + file.readline():
        digest.update(block)
        at += len(block)
        quotes += block.count(b'"')
        lines += block.count(b"\n")
        if quotes % 2 or at - start < least or not (least or block.strip()):  # in a cell, or in blank lines on top
            continue
        if least:
            pieces.append(Piece(start, at, header, first_line))
        else:
            header, least = at, piece_bytes
        start, first_line = at, lines
    if at > start:
        pieces.append(Piece(start, at, header, first_line))
    return tuple(pieces) or (Piece(),), digest.hexdigest()
