"""Files in pieces: together they are the file, in whatever way it is cut."""

from __future__ import annotations

import csv
import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twolayer.data.files import Piece, cut, piece_file

CELLS = st.text(alphabet='ab,"\n 1', max_size=6)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=2, max_size=30), size=st.integers(1, 60), header=st.booleans())
def test_the_records_of_all_pieces_are_those_of_the_file(tmp_path_factory, rows, size, header):
    folder = tmp_path_factory.mktemp("pieces")
    path = folder / "rows.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    pieces, digest = cut(path, has_header=header, piece_bytes=size)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    records, content = [], path.read_bytes()
    (folder / "part").mkdir()
    for number, piece in enumerate(pieces):
        with piece_file(path, piece, folder / "part").open(newline="") as file:
            read = list(csv.reader(file))
        if header and piece.stop and number:
            assert read[0] == list(rows[0])
            read = read[1:]
        if piece.stop:
            assert content[: piece.start].count(b"\n") + 1 == piece.first_line
        records += read
    assert records == [list(row) for row in rows]


def test_a_small_or_compressed_file_is_one_piece(tmp_path):
    for name, size in (("a.csv", 10**6), ("a.csv.gz", 1), ("a.npy", 1)):
        (tmp_path / name).write_bytes(b"a\n" * 50)
        assert cut(tmp_path / name, has_header=True, piece_bytes=size)[0] == (Piece(),)
    assert len(cut(tmp_path / "a.csv", has_header=True, piece_bytes=10)[0]) > 5
    assert len(cut(tmp_path / "a.csv", has_header=True, piece_bytes=10, encoding="utf-16")[0]) == 1


@pytest.mark.parametrize(
    "start", ["\ufeffa,b\n".encode("utf-16"), b"\x1f\x8b\n", b"PAR1\n", b"PK\3\4\n", b"\xfe\xff\n"]
)
def test_what_is_no_plain_text_by_its_first_bytes_is_one_piece(tmp_path, start):
    (tmp_path / "a.csv").write_bytes(start + b"1,2\n" * 50)
    assert cut(tmp_path / "a.csv", has_header=True, piece_bytes=10)[0] == (Piece(),)


def test_blank_lines_above_the_header_belong_to_it(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\n\r\na,b\n" + b"1,2\n" * 50)
    assert {piece.header for piece in cut(tmp_path / "a.csv", has_header=True, piece_bytes=10)[0]} == {7}


def test_row_groups_of_parquet_are_pieces(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    random.seed(1)
    table = pa.table({"x": [random.random() for _ in range(1000)], "word": ["ab"] * 1000})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=90)
    pieces, _ = cut(tmp_path / "rows.parquet", has_header=False, piece_bytes=1500)
    assert 3 < len(pieces) < 12
    parts = []
    (tmp_path / "part").mkdir()
    for piece in pieces:
        parts.append(pq.read_table(piece_file(tmp_path / "rows.parquet", piece, tmp_path / "part")))
    assert pa.concat_tables(parts).equals(table)
