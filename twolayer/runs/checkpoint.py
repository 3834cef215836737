"""Arrays and one JSON header in a file that plain `np.load` opens: the same bytes for the same content, never a pickle,
and a checksum over all that is read, so that a damaged file is refused instead of giving other numbers. Read back: the
parameters of a checkpoint, a trained model as others use it (raw rows in, labels or probabilities out), and
predictions.npz, what a run predicted for its validation and test rows."""

import hashlib
import io
import json
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data import Preparation
from twolayer.network.checks import checked_params
from twolayer.network.model import Array, Params, forward, softmax
from twolayer.runs.folder import RunFolder, open_run
from twolayer.utils.errors import FileError, RunError
from twolayer.utils.files import CANNOT_READ, MAX_JSON_BYTES, explained, parse_object, write_atomically
from twolayer.utils.npy import read_npz
from twolayer.utils.text import data_error, printable, shown
from twolayer.utils.version import __version__

FORMAT = 1  # to be raised when an older twolayer would misread a new file
HEADER = "header"
_CHECKSUM = "sha256"
_KINDS = "biufU"  # whole numbers, floats, booleans, text: everything that has a byte form of its own
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_ZIP64_FROM = 1 << 31
_BLOCK_ROWS = 4096  # predicted at a time


def packed(arrays: Mapping[str, Array], header: Mapping[str, Any]) -> bytes:
    """Return an uncompressed .npz of the arrays and the header.

    The member `header` is the JSON as UTF-8 bytes: `json.loads(bytes(np.load(path)["header"]))` reads it.
    Numbers in it that are not finite are written as NaN and Infinity, as Python's json reads and writes them; "format",
    "twolayer" (the version) and "sha256" are added.

    Raises:
        ValueError: for arrays that are not of booleans, numbers or text, a name that is taken or a header too large to
            be read again.
    """
    stored: dict[str, Array] = {}
    for name, array in arrays.items():
        if array.dtype.kind not in _KINDS or name == HEADER:
            raise ValueError(f"cannot store {name!r} of {array.dtype}")
        stored[name] = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    facts = json.loads(json.dumps({**header, "format": FORMAT, "twolayer": __version__}))  # as it will be read
    facts[_CHECKSUM] = _digest(facts, stored)
    text = _canonical(facts)
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"a header of {len(text):,} bytes; at most {MAX_JSON_BYTES:,} can be read again")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in {HEADER: np.frombuffer(text, np.uint8), **stored}.items():
            member = zipfile.ZipInfo(f"{name}.npy", _ZIP_EPOCH)
            member.create_system = 3  # Unix, whatever the system: the bytes must not depend on it
            member.external_attr = 0o644 << 16
            with archive.open(member, "w", force_zip64=array.nbytes >= _ZIP64_FROM) as file:
                np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def write_arrays(path: str | Path, arrays: Mapping[str, Array], header: Mapping[str, Any]) -> None:
    """Write arrays and a header to an .npz file, whole or not at all; see `packed` and `write_atomically`."""
    write_atomically(path, packed(arrays, header))


def read_arrays(
    path: str | Path, kinds: Collection[str] = (), *, follow: bool = False
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays by name and the header that `write_arrays` wrote, whose "kind" is one of `kinds`, if any are
    given; with `follow`, as for a path that the user gave, the file may be a link.

    Raises:
        RunError: if the file cannot be read, is damaged, comes from a newer format or is of another kind.
    """
    try:
        arrays = read_npz(Path(path), follow=follow)
    except FileError as error:
        raise RunError(str(error)) from None
    text = arrays.pop(HEADER, None)
    if text is None or text.dtype != np.uint8 or text.ndim != 1:
        raise RunError(f"{path}: expected a best.npz or last.npz that twolayer wrote, got a file without its header")
    header = parse_object(text.tobytes(), f"{path} (header)")
    version, writer = header.get("format"), printable(str(header.get("twolayer")))[:60]
    if type(version) is not int or version < 1:
        raise RunError(f"{path}: expected a file that twolayer wrote, got a header without a format version")
    if version > FORMAT:
        raise RunError(
            f"{path}: written by twolayer {writer} in file format {version}; this is twolayer {__version__}, which "
            f"reads formats up to {FORMAT}: install twolayer {writer} or later to open it"
        )
    if header.pop(_CHECKSUM, None) != _digest(header, arrays):
        raise RunError(
            f"{path}: damaged or changed: its content does not match its checksum; "
            "take another copy of the file, or train again from the run's config.yaml"
        )
    if kinds and header.get("kind") not in tuple(kinds):
        raise RunError(f"{path}: expected a file of kind {' or '.join(kinds)}, got {shown(header.get('kind'))}")
    native = {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in arrays.items()}
    return native, header


def read_model_arrays(
    path: str | Path, kinds: Collection[str] = ("model", "checkpoint", "snapshot"), *, follow: bool = False
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays and the header of a file with parameters; see `read_arrays`.

    Among the arrays are W2 (H, C) and b2 (C,), with W1 (D, H) and b1 (H,) or without both, all float32 or all float64
    and finite.

    Raises:
        RunError: as `read_arrays`, and for other parameters.
    """
    arrays, header = read_arrays(path, kinds, follow=follow)
    if absent := {"W2", "b2"} - arrays.keys():
        raise RunError(f"{path}: expected the arrays W1, b1, W2, b2, got no {min(absent)}")
    try:
        checked_params(Params(arrays.get("W1"), arrays.get("b1"), arrays["W2"], arrays["b2"]))
    except ValueError as error:
        raise RunError(f"{path}: {error}") from None
    return arrays, header


def _canonical(header: Mapping[str, Any]) -> bytes:
    return json.dumps(header, separators=(",", ":")).encode()


def _digest(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    """Return the SHA-256 over the header and, name by name, each array's name, dtype, shape and bytes."""
    digest = hashlib.sha256(_canonical(header) + b"\n")
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode() + b"\n")
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@dataclass(eq=False, repr=False)
class Model:
    """Parameters, and all it takes to predict from raw rows: scaling, categories, labels."""

    params: Params
    preparation: Preparation  # turns raw rows into the network's rows
    header: Mapping[str, Any] = field(default_factory=dict)  # of the training: epoch, step, monitor, value

    @property
    def classes(self) -> Sequence[str | int]:
        """Return the C labels, in the order of the probabilities' columns."""
        return self.preparation.classes

    def predict_proba(self, X: Any) -> Array:
        """Return class probabilities (N, C) of raw rows X (N, columns), as `Preparation.transform` takes them."""
        return self._outputs(self.preparation.transform(X), "row ")[1]

    def predict(self, X: Any) -> Array:
        """Return the label (N,) with the highest score for each raw row of X."""
        labels: Array = np.asarray(self.classes)[self._outputs(self.preparation.transform(X), "row ")[0]]
        return labels

    def predict_file(self, path: str | Path, notes: list[str] | None = None) -> Array:
        """Return class probabilities (N, C) of the raw rows in a file; its labels are not looked at."""
        return self.predict_rows(path, notes)[1]

    def predict_rows(self, path: str | Path, notes: list[str] | None = None) -> tuple[NDArray[np.intp], Array]:
        """Return the class indices (N,) with the highest scores, and the probabilities (N, C), of a file's rows.

        `notes` gets a sentence for columns that are not used and categories that training did not have.

        Raises:
            DataError: for any error in the file, or scores that are too large for the network's floats.
        """
        return self._outputs(self.preparation.read(path, with_labels=False, notes=notes)[0], f"{path}, row ")

    def _outputs(self, X: Array, where: str) -> tuple[NDArray[np.intp], Array]:
        """Return the classes with the highest scores and the probabilities of rows that are ready, in blocks."""
        best = np.empty(len(X), np.intp)
        P = np.empty((len(X), self.params.n_classes), np.result_type(self.params.dtype, X.dtype))
        for start in range(0, len(X), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            with np.errstate(over="ignore", invalid="ignore"):
                S = forward(self.params, X[rows])
            if not np.isfinite(S).all():
                row = start + int(np.argmin(np.isfinite(S).all(axis=1)))
                raise data_error(f"{where}{row}", f"scores that {P.dtype} holds", "an overflow of too large numbers")
            best[rows] = S.argmax(axis=1)
            P[rows] = softmax(S)
        return best, P

    def __repr__(self) -> str:
        return f"Model({self.params!r}, classes={list(self.classes[:5])}{' ...' if len(self.classes) > 5 else ''})"


def load_model(path: str | Path) -> Model:
    """Return the model in a file such as best.npz, or the best one of a run folder.

    Raises:
        RunError: if there is none, or the file is damaged or not a model.
    """
    path = Path(path)
    with explained(path, CANNOT_READ):
        in_folder = path.is_dir()
    if in_folder:
        best = RunFolder(path).best
        path = best if best.exists() else open_run(path).best  # which says what the folder is
    arrays, header = read_model_arrays(path, kinds=("model",), follow=not in_folder)
    params = Params(arrays.get("W1"), arrays.get("b1"), arrays["W2"], arrays["b2"])
    try:
        preparation = Preparation.from_stored(header.get("preparation"), arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: the stored preparation of rows cannot be used: {error}") from None
    if preparation.n_features != params.n_features or len(preparation.classes) != params.n_classes:
        raise RunError(
            f"{path}: parameters for {params.n_features} features and {params.n_classes} classes, "
            f"preparation for {preparation.n_features} and {len(preparation.classes)}"
        )
    return Model(params, preparation, header)


def read_predictions(path: Path) -> tuple[dict[str, Array], tuple[str | int, ...]]:
    """Return what a predictions.npz says a run predicted at its end.

    Returns:
        For `validation` and `test`, if the run has such rows: `test_rows` (N,), their numbers in the source, `test_y`
        (N,), class indices, `test_proba` (N, C); and the C labels.

    Raises:
        RunError: if the file cannot be read, is damaged, or its arrays and labels do not match.
    """
    arrays, header = read_arrays(path, kinds=("predictions",))
    classes = header.get("classes")
    if not (isinstance(classes, list) and classes and all(isinstance(label, str | int) for label in classes)):
        raise RunError(f"{path}: classes: expected a list of labels, got {shown(classes)}")
    for part in ("validation", "test"):
        found = [arrays[f"{part}_{name}"] for name in ("rows", "y", "proba") if f"{part}_{name}" in arrays]
        if found and not (len(found) == 3 and _fit(len(classes), *found)):
            expected = f"N row numbers, N class indices below {len(classes)} and N x {len(classes)} probabilities"
            shapes = ", ".join(f"{array.dtype} {array.shape}" for array in found)
            raise RunError(f"{path}: {part} rows: expected {expected}, got {shapes}")
        if found:
            arrays[f"{part}_y"] = found[1].astype(np.intp)
    return arrays, tuple(classes)


def _fit(n_classes: int, rows: Array, y: Array, proba: Array) -> bool:
    """Check that they are N row numbers, N class indices and (N, C) probabilities, NaN where scores overflowed."""
    N = len(y) if y.ndim else 0
    if not (rows.shape == y.shape == (N,) and proba.shape == (N, n_classes) and N > 0):
        return False
    if rows.dtype.kind not in "iu" or y.dtype.kind not in "iu" or proba.dtype.kind != "f":
        return False
    return bool(rows.min() >= 0 and y.min() >= 0 and y.max() < n_classes and not ((proba < 0) | (proba > 1)).any())
