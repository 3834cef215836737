"""The ways in: a config from a YAML file with overrides, or from a dict."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twolayer.config.checking import check
from twolayer.config.errors_report import KeyPath, Place, Report, dotted
from twolayer.config.models import Config
from twolayer.config.yaml_reader import MAX_DEPTH, Document, parse, read_document
from twolayer.utils.text import plain, shown


def load_config(path: Path | str, overrides: Sequence[str] = (), *, require_files: bool = True) -> Config:
    """Return the config in a YAML file, changed by overrides.

    Relative data paths start from the file's folder, those of overrides from the current folder, as does `run.dir`.
    An override that makes another choice (`solver.optimizer=adam`) takes the file's keys of the old choice
    (`solver.momentum`) out with it; of two overrides of one key the later counts.

    Args:
        path: the YAML file.
        overrides: `KEY=VALUE`, e.g. `solver.reg=1e-3` or `data.train={generator: spiral}`; VALUE is YAML.
        require_files: whether a data file that does not exist is a problem.

    Raises:
        ConfigError: with all problems of file and overrides, each with its place.
    """
    report = Report()
    document = read_document(path, report)
    if document is None:
        raise report.error()
    for number, override in enumerate(overrides):
        apply_override(document, override, number, report)
    config = check(document, report, {str(path): Path(path).parent}, require_files=require_files)
    config._source = Path(path)
    return config


def config_from_dict(
    values: Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    require_files: bool = True,
    source: Path | None = None,
) -> Config:
    """Return the config in a nested dict, by the same checks; relative paths start from the current folder.

    Args:
        values: as in the YAML file, e.g. `{"data": {"train": {"generator": "spiral"}}}`.
        overrides: as in `load_config`.
        require_files: as in `load_config`.
        source: the file that the dict comes from, which names the config; None: `run`.

    Raises:
        ConfigError: with all problems.
    """
    report = Report()
    document = Document(_plain_copy(values, (), report))
    for number, override in enumerate(overrides):
        apply_override(document, override, number, report)
    config = check(document, report, {}, require_files=require_files)
    config._source = source
    return config


def apply_override(document: Document, override: str, number: int, report: Report) -> None:
    """Put one `KEY=VALUE`, the one of this number, into the document; its key is judged with all others."""
    key, equals, text = override.partition("=")
    place = Place(f"override {plain(override, 80)}", number, 0)
    path: KeyPath = tuple(key.strip().split("."))
    if not equals or not all(path):
        report.add((), "expected KEY=VALUE, e.g. solver.reg=1e-3", place, judged=True)
        return
    value = parse(text, lambda line, column: place, report, root=path)
    if value is None:
        return
    if not isinstance(document.data, dict):
        return  # the file holds no mapping, which is reported as its problem
    holder = document.data
    for depth, part in enumerate(path[:-1], start=1):
        if holder.get(part) is None:
            holder[part] = {}
            document.places[path[:depth]] = place
        holder = holder[part]
        if not isinstance(holder, dict):
            around = path[:depth]
            report.add(path, f"{dotted(around)} is {shown(holder)} here, which has no keys inside", place, judged=True)
            return
    document.replaced.setdefault(path, holder.get(path[-1], ...))
    holder[path[-1]] = value.data
    document.places = {p: at for p, at in document.places.items() if p[: len(path)] != path} | value.places


def _plain_copy(value: Any, path: KeyPath, report: Report) -> Any:
    """Return dicts with names for keys, lists and values, so that nothing of the caller's is changed."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if type(value).__module__ == "numpy":
        value = value.tolist()
    if len(path) > MAX_DEPTH:
        report.add(path[:1], f"nested deeper than {MAX_DEPTH} levels", None)
        return None
    if isinstance(value, Mapping):
        names = Counter(str(key) for key in value)
        for name in (name for name, count in names.items() if count > 1):
            report.add((*path, name), "duplicate key, once as a number and once as text; remove one", None)
        return {str(key): _plain_copy(item, (*path, str(key)), report) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_copy(item, (*path, i), report) for i, item in enumerate(value)]
    return value
