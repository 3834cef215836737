"""The files that a config names: where their relative paths lead, and what is wrong with them, told before any of them
is opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

from twolayer.config.document import Document
from twolayer.config.report import Path, Report, shown, similar_file


def make_paths_absolute(
    document: Document, report: Report, folders: dict[str, FilePath], *, require_files: bool
) -> None:
    """Writes the data files' absolute paths into the document; notes those that cannot be read.

    Args:
        document: changed in place.
        report: gets the faults; paths already told to be at fault are left alone.
        folders: for each `Place.source`, the folder that its relative paths start from; others: the current one.
        require_files: whether a file that is not there is a fault.
    """
    for path, holder, key in _data_files(document.data):
        name = holder[key]
        if not isinstance(name, str) or not report.is_usable(path):
            continue
        place = document.place(path)
        folder = folders.get(place.source, FilePath()) if place is not None else FilePath()
        # the folder as it is on disk: behind a link, .. leads elsewhere than the link's name says
        holder[key] = os.path.abspath(os.path.join(os.path.realpath(folder), os.path.expanduser(name)))
        problem = _problem(holder[key]) if require_files else None
        if problem is not None:
            where = "" if name == holder[key] else f", that is {shown_path(holder[key])}"
            report.add(path, f"{problem[0]}: {shown(name)}{where}{problem[1]}", place)


def shown_path(path: str) -> str:
    """A path as it is, or quoted where it would spoil the line."""
    return path if path.isprintable() else repr(path)


def _data_files(data: Any) -> Iterator[tuple[Path, dict[str, Any], str]]:
    """Path, and holder and key of the value, of each place where the name of a data file may stand."""
    section = data.get("data") if isinstance(data, dict) else None
    if not isinstance(section, dict):
        return
    for key in ("train", "test", "validation"):
        source = section.get(key)
        if isinstance(source, dict):
            for part in ("features", "labels"):
                if part in source:
                    yield ("data", key, part), source, part
        elif key in section:
            yield ("data", key), section, key


def _problem(name: str) -> tuple[str, str] | None:
    """What is wrong with a file, and what to try."""
    try:
        mode = os.stat(name).st_mode  # it is not opened: a pipe would block
    except FileNotFoundError:
        return "no such file", similar_file(name)
    except (OSError, ValueError) as error:
        return f"cannot be read ({getattr(error, 'strerror', None) or error})", ""
    if not stat.S_ISREG(mode):
        return ("is a folder, not a file" if stat.S_ISDIR(mode) else "is not an ordinary file"), ""
    return None if os.access(name, os.R_OK) else ("cannot be read (permission denied)", "")
