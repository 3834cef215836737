"""The config: typed, strict and frozen, from a YAML file with overrides or from a dict, all its problems in one report;
as YAML text that loads to the same config again; the keys in which two configs differ."""

import os
import re
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twolayer.config.checking import check, choices, data_files
from twolayer.config.document import MAX_DEPTH, Document, KeyPath, Report, apply_override, parse_scalar, read_document
from twolayer.config.models import KEYS, Config, SolverConfig
from twolayer.config.rules import DEPENDENT_DEFAULTS, OWNED_KEYS, SCHEMA_NAME, config_schema, path_of
from twolayer.utils.text import printable

# What other rooms take from the modules below; the functions of this file are public as well.
__all__ = ["SCHEMA_NAME", "Config", "SolverConfig", "config_schema"]

_MOST_CHOICES = 8  # that a comment lists
_PLAIN = re.compile(r"[A-Za-z0-9_./-][A-Za-z0-9_./ +-]*(?<! )")


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
    values: Mapping[str, Any], overrides: Sequence[str] = (), *, require_files: bool = True, source: Path | None = None
) -> Config:
    """Return the config in a nested dict, by the same checks; relative paths start from the current folder.

    Args:
        values: as in the YAML file, e.g. `{"data": {"train": {"generator": "spiral"}}}`.
        overrides, require_files: as in `load_config`.
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
        copies = {str(key): _plain_copy(item, (*path, str(key)), report) for key, item in value.items()}
        if len(copies) < len(value):
            report.add(path, "duplicate key, once as a number and once as text; remove one", None)
        return copies
    if isinstance(value, (list, tuple)):
        return [_plain_copy(item, (*path, i), report) for i, item in enumerate(value)]
    return value


def dump_config(
    config: Config,
    folder: Path | str | None = None,
    reasons: Mapping[str, Sequence[str]] | None = None,
    without: Container[str] = (),
) -> str:
    """Return the config as YAML text; loading it, from whatever current folder, gives an equal config.

    Args:
        config: a config as loaded.
        folder: where the text will be put; data paths are then written relative to it, where a path leads there.
            None: absolute paths.
        reasons: comments for the lines above a key, by dotted key.
        without: keys that are left out, by dotted key.

    Returns:
        The text, every key with its choices and its meaning in a comment, without the keys that the chosen optimiser,
        schedule and init do not use.
    """
    lines: list[str] = []
    dumped = config.model_dump(mode="json")
    for _, holder, part in data_files(dumped) if folder is not None else ():
        if isinstance(holder[part], str) and os.path.isabs(holder[part]):
            with suppress(ValueError):  # on another drive, where no relative path leads
                holder[part] = os.path.relpath(holder[part], folder)
    values = by_dotted_key(dumped)
    for key, field in KEYS.items():
        section, _, name = key.rpartition(".")
        value, (chooser, owners) = values[key], OWNED_KEYS.get(key, (None, ()))
        if key in without or (chooser is not None and values[chooser] not in owners):
            continue
        if section and f"{section}:" not in lines:
            lines.append(f"{section}:")
        indent = "  " if section else ""
        lines += [f"{indent}# {printable(reason)}" for reason in (reasons or {}).get(key, ())]
        lines.append(f"{indent}{name}: {yaml_value(value)}  # {_comment(key, values, field.description or '')}")
    return "\n".join(lines) + "\n"


def _comment(key: str, values: dict[str, Any], meaning: str) -> str:
    """Return a key's meaning, before it the words it chooses from, after it the keys that go with the chosen one."""
    words = choices(path_of(key))
    tied = [name for name, (chooser, owners) in OWNED_KEYS.items() if chooser == key and values[key] in owners]
    tied += [name for name, (chooser, _) in DEPENDENT_DEFAULTS.items() if chooser == key and name not in OWNED_KEYS]
    is_listed = 1 < len(words) <= _MOST_CHOICES and not all(word in meaning for word in words)
    listed = f"{' | '.join(words)}    " if is_listed else ""
    names = ", ".join(name.split(".")[1] for name in tied)
    return f"{listed}{meaning}" + (f"; to choose another, remove {names}" if names else "")


def yaml_value(value: Any) -> str:
    """Return a plain value on one line of YAML, strings quoted where they would be read as something else."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{yaml_value(key)}: {yaml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(yaml_value, value)) + "]"
    if isinstance(value, str):
        like_number = re.match(r"[.+]?[0-9][0-9_.]*", value)  # other readers take 1_000 for a number
        if _PLAIN.fullmatch(value) and value[0] not in "-" and not like_number and parse_scalar(value) == value:
            return value
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in quoted) + '"'
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(text, text)


def differences(a: Config, b: Config) -> dict[str, tuple[Any, Any]]:
    """Return the keys in which two configs differ, by dotted name, with both values."""
    values_a, values_b = by_dotted_key(a.model_dump()), by_dotted_key(b.model_dump())
    return {key: (values_a[key], values_b[key]) for key in values_a if values_a[key] != values_b[key]}


def by_dotted_key(dumped: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a dumped config by dotted key, `solver.reg`; a value that is a mapping stays one."""
    values: dict[str, Any] = {}
    for section, value in dumped.items():
        values |= (
            {f"{section}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {section: value}
        )
    return values
