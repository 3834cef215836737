"""JSON for the small facts of a run: written in one fixed form, read within limits of size, depth and digits."""

import json
import math
from pathlib import Path
from typing import Any

from twolayer.utils.errors import RunError
from twolayer.utils.files import read_at_most, write_atomically

MAX_BYTES = 8 << 20
"""Far more than any JSON of a run; parsing takes several times its size in memory."""

_MAX_DIGITS = 40


def parse_object(text: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object in `text`, UTF-8 of at most `MAX_BYTES`; raise RunError with `where` for anything else."""
    if len(text) > MAX_BYTES:
        raise RunError(f"{where}: expected at most {MAX_BYTES:,} bytes of JSON, got {len(text):,}")
    try:
        value = json.loads(text.decode("utf-8"), parse_int=_integer)
    except UnicodeDecodeError as error:
        raise RunError(f"{where}: not UTF-8 text at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise RunError(f"{where}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError):
        raise RunError(f"{where}: JSON nested too deeply, or with a number of over {_MAX_DIGITS} digits") from None
    if not isinstance(value, dict):
        raise RunError(f"{where}: expected a JSON object {{...}}, got {type(value).__name__}")
    return value


def read_json(path: str | Path) -> dict[str, Any]:
    """Return the JSON object in a file of a run; see `read_at_most` and `parse_object`."""
    return parse_object(read_at_most(Path(path), MAX_BYTES), str(path))


def json_bytes(value: dict[str, Any]) -> bytes:
    """Return `value` as indented JSON in its own key order. JSON has no NaN and no infinity: they become null."""
    return (json.dumps(_finite(value), indent=2, allow_nan=False) + "\n").encode()


def write_json(path: str | Path, value: dict[str, Any]) -> None:
    """Write `json_bytes(value)` to a file; see `write_atomically`."""
    write_atomically(path, json_bytes(value))


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError
    return int(digits)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
