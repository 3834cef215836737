"""Arrays and one JSON header in a file that plain `np.load` opens: the same bytes for the same content, never a pickle,
and a checksum over all that is read, so that a damaged file is refused instead of giving other numbers."""

import hashlib
import io
import json
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.network.checks import checked_params
from twolayer.network.model import Array, Params
from twolayer.utils.errors import FileError, RunError
from twolayer.utils.files import MAX_JSON_BYTES, parse_object, write_atomically
from twolayer.utils.npy import read_npz
from twolayer.utils.text import printable, shown
from twolayer.utils.version import __version__

FORMAT = 1
"""To be raised when an older twolayer would misread a new file."""

HEADER = "header"
_CHECKSUM = "sha256"
_KINDS = "biufU"  # whole numbers, floats, booleans, text: everything that has a byte form of its own
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_ZIP64_FROM = 1 << 31


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
    """Return the arrays by name and the header that `write_arrays` wrote.

    Args:
        path: the .npz file.
        kinds: the accepted values of the header's "kind"; empty for any.
        follow: accept a link to the file, as for a path that the user gave.

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
