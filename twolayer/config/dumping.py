"""A config as YAML text that loads to the same config again, and the keys in which two configs differ."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from twolayer.config.models import Config
from twolayer.config.rules import OWNED_KEYS
from twolayer.config.yaml_reader import parse_scalar

_PLAIN = re.compile(r"[A-Za-z0-9_./-][A-Za-z0-9_./ +-]*(?<! )")


def dump_config(config: Config, folder: Path | str | None = None) -> str:
    """Return the config as YAML text; loading it, from whatever current folder, gives an equal config.

    Args:
        config: a config as loaded.
        folder: where the text will be put; data paths are then written relative to it, where a path leads there.
            None: absolute paths.

    Returns:
        The text, every key with its meaning in a comment, without the keys that the chosen optimiser, schedule and
        init do not use.
    """
    lines, values = [], _flat(config)
    for section, key in Config.model_fields.items():
        if section in values:
            lines.append(f"{section}: {yaml_value(values[section])}")
            continue
        lines.append(f"{section}:")
        for name, field in key.annotation.model_fields.items():  # type: ignore[union-attr]
            owned = OWNED_KEYS.get(f"{section}.{name}")
            if owned is not None and values[owned[0]] not in owned[1]:
                continue
            value = values[f"{section}.{name}"]
            if section == "data" and folder is not None:
                value = _relative(value, folder)
            lines.append(f"  {name}: {yaml_value(value)}  # {field.description}")
    return "\n".join(lines) + "\n"


def yaml_value(value: Any) -> str:
    """Return a plain value on one line of YAML, strings quoted where they would be read as something else."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{yaml_value(key)}: {yaml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(yaml_value, value)) + "]"
    if isinstance(value, str):
        return _yaml_string(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(text, text)


def differences(a: Config, b: Config) -> dict[str, tuple[Any, Any]]:
    """Return the keys in which two configs differ, by dotted name, with both values."""
    flat_a, flat_b = _flat(a), _flat(b)
    return {key: (flat_a[key], flat_b[key]) for key in flat_a if flat_a[key] != flat_b[key]}


def _flat(config: Config) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for section, value in config.model_dump().items():
        if isinstance(value, dict):
            flat |= {f"{section}.{key}": item for key, item in value.items()}
        else:
            flat[section] = value
    return flat


def _yaml_string(text: str) -> str:
    like_number = re.match(r"[.+]?[0-9][0-9_.]*", text)  # other readers take 1_000 for a number
    if _PLAIN.fullmatch(text) and text[0] not in "-" and not like_number and parse_scalar(text) == text:
        return text
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in quoted) + '"'


def _relative(source: Any, folder: Path | str) -> Any:
    if isinstance(source, str) and os.path.isabs(source):
        try:
            return os.path.relpath(source, folder)
        except ValueError:  # on another drive, where no relative path leads
            return source
    if isinstance(source, (list, tuple)):
        return [_relative(each, folder) for each in source]
    if isinstance(source, dict) and "generator" not in source:
        return {key: _relative(value, folder) for key, value in source.items()}
    return source
