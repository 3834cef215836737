"""Which files belong together: images and their labels, training rows and the test rows beside them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from twolayer.data.columns import ColumnChoice, is_header
from twolayer.data.csv_reader import CsvText
from twolayer.data.files import format_of
from twolayer.utils.text import fault

_LABELS_OF = (("images-idx3", "labels-idx1"), ("images", "labels"), ("features", "labels"), ("X", "y"), ("x", "y"))
_TEST_OF = (("train", "test"), ("train", "t10k"), ("training", "test"), ("Train", "Test"), ("TRAIN", "TEST"))


def source_of(path: Path) -> Any:
    """The file as `data.train` has it: itself, or with its labels where those have a file of their own.

    Raises:
        DataError: if there is no such file, or its labels are not found.
    """
    if not path.is_file():
        raise fault(path, "no such file", "a csv, npz, npy or IDX file")
    if format_of(path) not in ("npy", "idx"):
        return str(path)
    for features, labels in _LABELS_OF:
        for here, there in ((features, labels), (labels, features)):
            name = re.sub(rf"(?<![A-Za-z]){here}(?![A-Za-z])", there, path.name)
            if name != path.name and (other := path.with_name(name)).is_file():
                pair = (path, other) if here == features else (other, path)
                return {"features": str(pair[0]), "labels": str(pair[1])}
    raise fault(
        path, "no file with its labels beside it", "names such as X.npy and y.npy, or ...images... and ...labels..."
    )


def test_of(source: Any) -> Any:
    """The test rows in files beside the training rows, named `test` where those are named `train`; None without any."""
    for train, test in _TEST_OF:
        found = {}
        for key, name in (source if isinstance(source, dict) else {"": source}).items():
            path = Path(name)
            other = path.with_name(path.name.replace(train, test))
            if train not in path.name or not other.is_file():
                break
            found[key] = str(other)
        else:
            return found if isinstance(source, dict) else found[""]
    return None


def lacking_columns(train: str, test: str) -> list[str]:
    """The names in the header of one CSV file that the header of another lacks; none where one has no header."""
    headers = []
    for path in (train, test):
        text = CsvText(Path(path))
        if not is_header(ColumnChoice(), text.is_number):
            return []
        headers.append([cell.strip() for cell in text.first])
    return [name for name in headers[0] if name not in headers[1]]


def name_of(source: Any) -> str:
    """A name for the config: the file's, without ending and without `train`; where nothing is left, the folder's."""
    path = Path(source["features"] if isinstance(source, dict) else source).absolute()
    name = path.name
    for ending in (".gz", ".csv", ".npz", ".npy", ".idx", ".bin", "-ubyte", "-images-idx3"):
        name = name.removesuffix(ending)
    shorter = name.replace("train", "").strip("-_. ")
    return shorter or path.parent.name or name
