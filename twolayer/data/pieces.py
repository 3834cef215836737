"""A table's file in pieces that can be read in any order: CSV cut at the ends of records, Parquet by its row groups.

A piece is written as a small file of the same format, so everything that reads a file reads a piece."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

from twolayer.utils.files import sha256_of

PIECE_BYTES = 8 << 20  # of a file; smaller files are one piece
_BLOCK_BYTES = 1 << 20
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
    """Write a piece as a file of its own; raises OSError."""
    if piece.stop == 0:
        target.symlink_to(path.absolute())
    elif path.name.lower().endswith((".parquet", ".pq")):
        import pyarrow.parquet as pq  # type: ignore[import-untyped, unused-ignore]

        with pq.ParquetFile(path) as file:
            pq.write_table(file.read_row_groups(list(range(piece.start, piece.stop))), target)
    else:
        with path.open("rb") as source, target.open("wb") as out:
            for start, stop in ((0, piece.header), (piece.start, piece.stop)):
                source.seek(start)
                for at in range(start, stop, _BLOCK_BYTES):
                    out.write(source.read(min(_BLOCK_BYTES, stop - at)))


def _row_groups(path: Path, piece_bytes: int) -> tuple[Piece, ...]:
    """Return groups of neighbouring row groups of about the size of a piece."""
    import pyarrow.parquet as pq  # type: ignore[import-untyped, unused-ignore]

    with pq.ParquetFile(path) as file:
        sizes = [file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)]
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
    while block := file.read(_BLOCK_BYTES):
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
