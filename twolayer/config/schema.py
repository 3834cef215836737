"""The config's JSON Schema, for editors, and what can be read off it: the words for what a key may hold and the
known names at a place."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from twolayer.config.document import KeyPath
from twolayer.config.models import Config, SweepFile
from twolayer.config.rules import OWNED_KEYS, default_of
from twolayer.network.checks import range_in_words

Schema = dict[str, Any]
SCHEMA_NAME = "twolayer.schema.json"  # of the file beside a config, which names it for editors

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


def config_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of a config file, ready for `json.dumps`.

    It knows the keys, types, ranges and choices, and which keys belong to which optimiser, schedule and init. The
    loader checks more: that files exist and that keys fit each other.
    """
    schema = Config.model_json_schema()
    for key, (chooser, owners) in OWNED_KEYS.items():
        (section, name), choice = key.split("."), chooser.split(".")[1]
        then: Schema = {"properties": {choice: {"enum": list(owners)}}}
        if default_of(chooser) not in owners:
            then["required"] = [choice]
        rules = schema["$defs"][f"{section.title()}Config"].setdefault("allOf", [])
        rules.append({"if": {"required": [name]}, "then": then})
    is_step = {"required": ["schedule"], "properties": {"schedule": {"const": "step"}}}
    schema["$defs"]["SolverConfig"]["allOf"].append({"if": is_step, "then": {"required": ["step_epochs"]}})
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "twolayer config"}
    return {**head, **schema}


def expected(path: KeyPath, model: type[BaseModel] = Config, *, instead_of: Any = None) -> str:
    """Return what the key at `path` may hold, in words, e.g. `a number greater than 0`.

    Args:
        path: the key's path.
        model: of the document.
        instead_of: the value found: if it is a number, and numbers are a form of the key, only that form is described.
    """
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
