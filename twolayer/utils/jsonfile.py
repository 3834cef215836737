"""JSON for the small facts of a run: written in one fixed form, read with the care a stranger's file needs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from twolayer.utils.errors import RunError
from twolayer.utils.files import CANNOT_READ, explained, write_atomically

MAX_BYTES = 8 << 20
"""No JSON of a run comes near this; parsing more could take memory out of all proportion."""


def parse_object(text: bytes, where: str) -> dict[str, Any]:
    """The JSON object in `text`.

    Args:
        text: UTF-8.
        where: the file, for the message.

    Raises:
        RunError: if it is anything but one JSON object of at most `MAX_BYTES`.
    """
    if len(text) > MAX_BYTES:
        raise RunError(f"{where}: {len(text):,} bytes of JSON, at most {MAX_BYTES:,} are read")
    try:
        value = json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RunError(f"{where}: not UTF-8 text at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise RunError(f"{where}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits; thousands of brackets
        raise RunError(f"{where}: JSON nested too deeply or with a number too long") from None
    if not isinstance(value, dict):
        raise RunError(f"{where}: a JSON object {{...}} is wanted, found {type(value).__name__}")
    return value


def read_json(path: str | Path) -> dict[str, Any]:
    """The JSON object in a file such as summary.json or environment.json.

    Raises:
        RunError: if the file cannot be read or is not one JSON object.
    """
    path = Path(path)
    with explained(path, CANNOT_READ), path.open("rb") as file:
        text = file.read(MAX_BYTES + 1)
    return parse_object(text, str(path))


def json_bytes(value: dict[str, Any]) -> bytes:
    """`value` as indented JSON in its own key order. JSON has no NaN and no infinity: they become null."""
    return (json.dumps(_finite(value), indent=2, allow_nan=False) + "\n").encode()


def write_json(path: str | Path, value: dict[str, Any]) -> None:
    """Writes `json_bytes(value)` to a file, whole or not at all.

    Raises:
        RunError: if the file cannot be written.
    """
    write_atomically(path, json_bytes(value))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
