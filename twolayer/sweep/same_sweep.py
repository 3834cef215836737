"""Whether going on makes the same sweep: what may change between two sessions, and what makes it another one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twolayer.sweep.keys import FREE_KEYS
from twolayer.sweep.sweep_file import Sweep
from twolayer.utils.errors import DataError, RunError
from twolayer.utils.files import CANNOT_READ, explained
from twolayer.utils.jsonfile import read_json, shown, write_json


def require_same_sweep(sweep: Sweep, folder: Path) -> dict[str, str]:
    """Notes what the sweep is in sweep.json, or compares it with what stands there.

    Args:
        sweep: as asked for now.
        folder: the sweep folder, locked.

    Returns:
        SHA-256 of each data file by its path.

    Raises:
        RunError: if a key or a data file would make another sweep of it, naming the first few.
    """
    digests = {path: _digest(Path(path)) for path in data_files(sweep.base.data.model_dump())}
    today = _description(sweep, digests)
    path = folder / "sweep.json"
    if not path.exists():
        write_json(path, today)
        return digests
    then = read_json(path)
    changed = [
        f"{key}: {shown(then.get(key))} then, {shown(today.get(key))} now"
        for key in dict.fromkeys([*then, *today])
        if then.get(key) != today.get(key)
    ]
    if changed:
        more = f"; and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise RunError(
            f"{folder}: holds another sweep: {'; '.join(changed[:5])}{more}. Put that back to go on, or start this one "
            f"in a folder of its own with --sweep-dir; only {', '.join(FREE_KEYS)} may change"
        )
    return digests


def data_files(source: Any) -> Iterator[str]:
    """The files that a config's section `data` names."""
    for key in ("train", "test", "validation"):
        value = source[key]
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict) and "features" in value:
            yield from (value["features"], value["labels"])


def _digest(path: Path) -> str:
    with explained(path, CANNOT_READ), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_data(digests: dict[str, str], where: str = "") -> None:
    """Raises DataError unless all files are here with these digests."""
    for name, wanted in digests.items():
        if not Path(name).is_file():
            raise DataError(f"{name}: no such file{where}")
        if _digest(Path(name)) != wanted:
            raise DataError(f"{name}: another file{where}: its SHA-256 differs from the one the sweep began with")


def _description(sweep: Sweep, digests: dict[str, str]) -> dict[str, Any]:
    """Flat, so that differences can be named."""
    flat: dict[str, Any] = {}
    for section, value in sweep.base.model_dump(mode="json").items():
        if section == "run":
            flat["base.run.evaluate_rows"] = value["evaluate_rows"]
        elif isinstance(value, dict):
            flat |= {f"base.{section}.{key}": entry for key, entry in value.items()}
        else:
            flat[f"base.{section}"] = value
    flat |= {f"space.{key}": value for key, value in sweep.settings["space"].items()}
    flat |= {key: value for key, value in sweep.settings.items() if key not in (*FREE_KEYS, "base", "space")}
    return flat | {f"SHA-256 of {path}": digest for path, digest in digests.items()}
