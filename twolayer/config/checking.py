"""Plain data -> Config, or all its problems in one report: pydantic checks each key, the rules check them together, and
each problem is reported as `expected Y, got X; what to do`. The files that a config names are checked before one of
them is opened."""

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from pydantic_core import ErrorDetails

from twolayer.config.document import Document, KeyPath, Report, file_problem, hint_for
from twolayer.config.models import Config, SweepFile
from twolayer.config.rules import DEPENDENT_DEFAULTS, Values, cautions, check_rules, drop_left_over
from twolayer.network.checks import range_in_words
from twolayer.utils.text import did_you_mean, expected_got, nearest, printable, shown

Schema = dict[str, Any]

_FORMATS = {
    "path": "a file name",
    "folder": "a folder name",
    "character": "one character",
    "column": "a column's name",
    "position": "its position",
    "space": "a mapping of config keys to their values",
    "choices": "a list of 1 to 1000 values",
    "range": "{uniform: [LOW, HIGH]}, {log_uniform: [LOW, HIGH]} or {integer: [LOW, HIGH]}",
    "ends": "two numbers, [LOW, HIGH]",
    "whole ends": "two whole numbers, [LOW, HIGH]",
}
_SHORT = 60  # characters of a value that a message repeats


def check(document: Document, report: Report, folders: dict[str, Path], *, require_files: bool) -> Config:
    """Return the config that a document, which is changed on the way, means with the overrides applied to it.

    Relative data paths start from the folder of their `Place.source`, those of other sources from the current one.

    Raises:
        ConfigError: with all problems, those already in the report as well.
    """
    check_types(document, report, Config)
    notes = drop_left_over(document, report)
    check_rules(document, report)
    _make_paths_absolute(document, report, folders, require_files=require_files)
    if report.problems:
        raise report.error()
    data, values = document.data, Values(document.data, report)
    for key in ("run.dir", "solver.monitor", *DEPENDENT_DEFAULTS):
        section, name = key.split(".")
        data.setdefault(section, {}).setdefault(name, values.default(key))
    data["run"]["dir"] = os.path.abspath(os.path.expanduser(data["run"]["dir"]))
    config = Config.model_validate(data)
    config._notes = (*notes, *cautions(values))
    return config


def check_types(document: Document, report: Report, model: type[BaseModel]) -> None:
    """Report every key of a document that is unknown, missing, of another type or out of range for `model`; nothing is
    added about paths that already have a problem."""
    errors: dict[KeyPath, ErrorDetails] = {}  # one per path
    try:
        model.model_validate(document.data)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False, include_context=False):
            errors.setdefault(_path_in(document.data, error), error)
    around = {path[:end] for path in errors for end in range(len(path))}  # where another branch of a union was tried
    for path, error in errors.items():
        if path in around or report.is_inside_unusable(path):
            continue
        if error["type"] == "extra_forbidden":
            message = _unknown_key(path, model)
        elif error["type"] == "missing":
            message = f"missing key; expected {expected(path, model)}"
        elif path:
            found = error["input"]
            message = expected_got(expected(path, model, instead_of=found), shown(found), _hint(found, path, model))
        else:
            message = expected_got(f"the keys {', '.join(known_keys((), model))}", shown(document.data))
        report.add(path, message, document.place(path))


def _path_in(data: Any, error: ErrorDetails) -> KeyPath:
    """Return the error's path without the names of union branches that pydantic puts into it."""
    path: list[str | int] = []
    parts = error["loc"]
    for i, part in enumerate(parts):
        is_last = i == len(parts) - 1
        if isinstance(data, dict) and (part in data or (is_last and error["type"] in ("missing", "extra_forbidden"))):
            data = data.get(part)
        elif isinstance(data, (list, tuple)) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def _unknown_key(path: KeyPath, model: type[BaseModel]) -> str:
    *outer, name = path
    known = known_keys(tuple(outer), model)
    if name in known:
        return f"unknown key in this form; expected {expected(tuple(outer), model)}"
    elsewhere = {key: section for section in known_keys((), model) for key in known_keys((section,), model)}
    if nearest(str(name), known) is None and (guess := nearest(str(name), elsewhere)) is not None:
        return f"unknown key; did you mean '{elsewhere[guess]}.{guess}'?"
    return f"unknown key{hint_for(str(name), known)}"


def _hint(found: Any, path: KeyPath, model: type[BaseModel]) -> str:
    """Return what to try: the nearest choice where a word was found, or a way out of an empty section."""
    if found is None and len(path) == 1:
        return "give it a key or remove the line"
    if type(found) in (int, float) and 1 <= found < 100 and "and below 1" in expected(path, model):
        return _as_fraction(f"{found} %")
    if not isinstance(found, str):
        return ""
    if known_keys(path, model) and (pair := re.fullmatch(r"(\w+) ?[:=] ?(\S+)", found[:100])):
        return f"write '{pair[1]}: {pair[2]}', with a space after the colon"
    if expected(path, model).startswith("a list"):
        return f"write [{found}]" if found.isprintable() and len(found) <= _SHORT else ""
    return did_you_mean(found, choices(path, model))


def _as_fraction(text: str) -> str:
    """Return what a percentage is as a fraction, or nothing if `text` is no percentage."""
    percent = re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?) ?%", text)
    return f"{percent[1]} % is {float(percent[1]) / 100:g}" if percent else ""


def _make_paths_absolute(document: Document, report: Report, folders: dict[str, Path], *, require_files: bool) -> None:
    """Write the data files' absolute paths into the document; report those that cannot be read."""
    for path, holder, key in data_files(document.data):
        name = holder[key]
        if not isinstance(name, str) or not report.is_usable(path):
            continue
        place = document.place(path)
        folder = folders.get(place.source, Path()) if place is not None else Path()
        # the folder as it is on disk: behind a link, .. leads elsewhere than the link's name says
        holder[key] = os.path.abspath(os.path.join(os.path.realpath(folder), os.path.expanduser(name)))
        if require_files and (problem := file_problem(holder[key])):
            where = "" if holder[key] in shown(name) else f", that is {printable(holder[key])}"
            percent = _as_fraction(name)
            problem = f"{shown(name)}: no such file; {percent}" if percent else f"{shown(name)}{where}: {problem}"
            report.add(path, problem, place)


def data_files(data: Any) -> Iterator[tuple[KeyPath, Any, str | int]]:
    """Yield path, holder and key of each place where the name of a data file may be."""
    section = data.get("data") if isinstance(data, dict) else None
    if not isinstance(section, dict):
        return
    for key in ("train", "test", "validation"):
        source = section.get(key)
        if isinstance(source, list):
            yield from ((("data", key, number), source, number) for number in range(len(source)))
        elif isinstance(source, dict):
            yield from ((("data", key, part), source, part) for part in ("features", "labels") if part in source)
        elif key in section:
            yield ("data", key), section, key


def expected(path: KeyPath, model: type[BaseModel] = Config, *, instead_of: Any = None) -> str:
    """Return what the key at `path` of a document of `model` may hold, in words, e.g. `a number greater than 0`. If a
    number was found (`instead_of`), and numbers are a form of the key, only that form is described."""
    branches = _at(path, model)
    if type(instead_of) in (int, float) and any(branch.get("type") == "number" for branch in branches):
        branches = [branch for branch in branches if branch.get("type") in ("number", "null")]
    return _describe({"anyOf": branches})


def choices(path: KeyPath, model: type[BaseModel] = Config) -> list[str]:
    """Return the words that the key at `path` chooses from; none if it is no choice of words."""
    return _choices(_at(path, model))


def known_keys(path: KeyPath, model: type[BaseModel] = Config) -> list[str]:
    """Return the names of the mapping at `path`; none if it takes any name."""
    return list(dict.fromkeys(name for branch in _at(path, model) for name in branch.get("properties", ())))


def _describe(schema: Schema) -> str:
    """Return a JSON Schema of one of our keys in words."""
    parts = list(_branches(schema))
    words = _choices(parts)
    phrases = [f"one of {', '.join(words)}" if len(words) > 1 else words[0]] if words else []
    phrases += [_describe_one(part) for part in parts if "enum" not in part]
    return " or ".join(dict.fromkeys(phrases))


def _describe_one(schema: Schema) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    match schema.get("type"):
        case "integer" | "number" as kind:
            bounds = {"minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le", "exclusiveMaximum": "lt"}
            limits = {short: schema[name] for name, short in bounds.items() if name in schema}
            return ("a whole number" if kind == "integer" else "a number") + range_in_words(**limits)
        case "string":
            return "text"
        case "boolean":
            return "true or false"
        case "array":
            return f"a list (each {_describe(schema['items'])})"
        case "object" if "properties" in schema:
            entries = [_entry(key, part) for key, part in schema["properties"].items()]
            return "{" + ", ".join(entries if len(entries) <= 8 else [*entries[:4], "..."]) + "}"
        case "object":
            return "{label: weight}"
    return "null"


def _choices(parts: list[Schema]) -> list[str]:
    return list(dict.fromkeys(str(choice) for part in parts for choice in part.get("enum", ())))


def _entry(key: str, schema: Schema) -> str:
    if "const" in schema:
        return f"{key}: {schema['const']}"
    is_path = any(branch.get("format") == "path" for branch in _branches(schema))
    return key if "default" in schema else f"{key}: {'FILE' if is_path else 'N'}"


@cache
def _definitions() -> dict[str, Schema]:
    """Return the schema of each model by the name by which others refer to it."""
    models: Any = [(Config, "validation"), (SweepFile, "validation")]
    definitions: dict[str, Schema] = models_json_schema(models, ref_template="{model}")[1]["$defs"]
    return definitions


def _branches(schema: Schema) -> Iterator[Schema]:
    """Yield the alternatives of a schema, in place of a reference those of what it refers to."""
    if "$ref" in schema:
        own = {name: value for name, value in schema.items() if name != "$ref"}
        yield from _branches(_definitions()[schema["$ref"]] | own)
    elif alternatives := schema.get("anyOf") or schema.get("oneOf"):
        for alternative in alternatives:
            yield from _branches(alternative)
    else:
        yield {"enum": [schema["const"]]} if "const" in schema else schema


def _at(path: KeyPath, model: type[BaseModel]) -> list[Schema]:
    """Return the forms that the value at `path` may have."""
    branches = list(_branches(_definitions()[model.__name__]))
    for part in path:
        if isinstance(part, int):
            inner = [branch.get("items") for branch in branches]
        else:
            inner = [branch.get("properties", {}).get(part, branch.get("additionalProperties")) for branch in branches]
        branches = [branch for schema in inner if isinstance(schema, dict) for branch in _branches(schema)]
    return branches
