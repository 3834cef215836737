"""Configs: good ones broken in their bytes and in their structure, and random ones made from the schema. Each is taken,
and then written and read to the same config, or refused with the place of every error."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.campaign import TRAIN_SECONDS, Campaign, SurpriseError, Tally, memory_limit
from tests.fuzz.mutate import damaged
from tests.fuzz.training import small, trained
from twolayer.commands.example import shipped
from twolayer.config import Config, config_from_dict, config_schema, dump_config, load_config, yaml_value
from twolayer.config.document import Place, Report, parse
from twolayer.utils.errors import ConfigError
from twolayer.utils.randomness import generator

TOKENS = [
    *(b"[", b"]", b"{", b"}", b": ", b"- ", b"? ", b"\n", b"\r", b"\t", b"  ", b"'", b'"', b"#", b"|", b">", b"@"),
    *(b"&a ", b"*a", b"<<: *a", b"!", b"!!python/object/apply:os.system [true]\n", b"---\n", b"...\n", b"%YAML 1.1\n"),
    *(b"null", b"true", b"-1", b"1e999", b".nan", b"0x1f", b"9" * 500, b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xc2\x85"),
    *(b"\\ud800", b"\\x", b"seed: 0\n", b"  epochs: 3\n", b"a: &a [*a, *a]\n", b"../", b"/dev/zero"),
]  # fmt: skip
VALUES: list[Any] = [None, True, False, 0, 1, -1, 2**63, 10**400, 0.5, -0.0, 1e-320, 1e308, float("inf"), float("nan"),
                     "", "adam", "spiral", "none", "1e-3", "é\u2028", "a" * 1000, "../x.csv", "/dev/stdin", "\0",
                     [], {}, [1, "a"], {"a": 1}, {"generator": "spiral"}, {"generator": "toy", "rows": 5},
                     {"features": "a", "labels": "b"}, [[[[[[]]]]]]]  # fmt: skip
SECTIONS = ("data", "model", "solver", "run")


def fuzz_configs(campaign: Campaign, count: int, train: int, seed: int) -> Tally:
    """Run the campaign.

    Args:
        campaign: runs the cases.
        count: how many configs.
        train: how many of the accepted ones are also trained.
        seed: of all that is random.
    """
    cases = _Cases(campaign.folder)
    accepted: list[tuple[int, dict[str, Any]]] = []
    with memory_limit():
        for number in range(count):
            make = (cases.broken_bytes, cases.broken_structure, cases.made_up)[number % 3]
            if campaign.case(number, partial(cases.judged, make, generator(seed, "fuzz", number))) == "accepted":
                accepted.append((number, small(cases.accepted)))
    for number, values in accepted[:: max(1, len(accepted) // max(train, 1))][:train]:
        campaign.case(number, partial(trained, values, campaign.folder / "run"), TRAIN_SECONDS)
    return campaign.tally


class _Cases:
    """The three kinds of cases, each loading one config from what it writes into the campaign's folder."""

    accepted: Config

    def __init__(self, folder: Path) -> None:
        self._path, self._values = folder / "config.yaml", folder / "values.json"
        self._texts = [path.read_bytes() for path in sorted((shipped() / "configs").glob("*.yaml"))]
        documents = [parse(text.decode(), lambda line, column: Place("", 0, 0), Report()) for text in self._texts]
        self._good = [document.data for document in documents if document is not None]

    def judged(self, make: Callable[[np.random.Generator], Config], rng: np.random.Generator) -> str:
        """Return how a case ended: accepted, or refused with every error on a line of its own, with its place."""
        try:
            config = make(rng)
        except ConfigError as error:
            starts = ("",) if self._values.exists() else (f"{self._path}:", "override ", "... and ")
            for line in error.problems or [""]:
                if not (line and line.startswith(starts) and line.isprintable()):
                    raise SurpriseError(f"an error without its place, or not on one line: {line!r}") from error
            return "refused"
        self._path.write_text(dump_config(config), "utf-8")
        if load_config(self._path, require_files=False) != config:
            raise SurpriseError("written and read again, the config is another one")
        self.accepted = config
        return "accepted"

    def broken_bytes(self, rng: np.random.Generator) -> Config:
        """Load a shipped file after random edits."""
        self._path.write_bytes(damaged(self._texts[rng.integers(len(self._texts))], rng, TOKENS))
        return load_config(self._path, _overrides(rng), require_files=False)

    def broken_structure(self, rng: np.random.Generator) -> Config:
        """Load the values of a shipped file, some of them changed."""
        values, overrides = _changed(self._good[rng.integers(len(self._good))], rng), _overrides(rng)
        self._values.write_text(json.dumps([values, overrides]))
        return config_from_dict(values, overrides, require_files=False)

    def made_up(self, rng: np.random.Generator) -> Config:
        """Load random keys with random values."""
        text = "".join(f"{key}: {yaml_value(value)}\n" for key, value in _random_config(rng).items())
        self._path.write_text(text, "utf-8")
        return load_config(self._path, require_files=False)


def _overrides(rng: np.random.Generator) -> list[str]:
    """Return mostly none; else one or two, good, bad or no override at all."""
    chosen = []
    for _ in range(max(0, int(rng.integers(-3, 3)))):
        section = SECTIONS[rng.integers(len(SECTIONS))]
        keys = list(_properties(section))
        key = ".".join([section, str(rng.choice([*keys, "x", ""]))][: int(rng.integers(1, 3))])
        value = rng.choice(["1", "0.5", "none", "null", "{a: 1}", "[", "!!x 1", "*a", "- 1", "&a [*a]", "adam", ""])
        chosen.append(f"{key}{rng.choice(['=', '=', '=', ''])}{value}")
    return chosen


def _changed(values: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return a deep copy with some entries replaced, added or taken out."""
    copy: dict[str, Any] = json.loads(json.dumps(values))
    for _ in range(rng.integers(1, 4)):
        holders = [copy, *(value for value in copy.values() if isinstance(value, dict))]
        holder = holders[rng.integers(len(holders))]
        keys = [*holder, *_properties(SECTIONS[rng.integers(len(SECTIONS))]), "x"]
        key = keys[rng.integers(len(keys))]
        if rng.integers(4):
            holder[key] = deepcopy(VALUES[rng.integers(len(VALUES))])
        else:
            holder.pop(key, None)
    return copy


def _random_config(rng: np.random.Generator) -> dict[str, Any]:
    """Return a config with random keys, each with a value that its schema allows, rarely another one."""
    sources: list[Any] = [{"generator": "spiral"}, {"generator": "toy", "rows": 9}, "rows.csv", "rows.npz"]
    values: dict[str, Any] = {"seed": int(rng.integers(5)), "data": {"train": sources[rng.integers(4)]}}
    values["data"] |= {"label": "y"} if values["data"]["train"] == "rows.csv" else {}
    for section in SECTIONS:
        chosen = values.setdefault(section, {})
        for key, schema in _properties(section).items():
            if rng.integers(4) == 0 and key not in chosen:
                chosen[key] = _value(schema, rng)
    return values


def _value(schema: dict[str, Any], rng: np.random.Generator) -> Any:
    """Return a value that a schema allows; one time in twenty any value."""
    if rng.integers(20) == 0:
        return deepcopy(VALUES[rng.integers(len(VALUES))])
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        return _value(branches[rng.integers(len(branches))], rng)
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return {"Spiral": {"generator": "spiral"}, "Toy": {"generator": "toy"}}.get(
            name, {"features": "a.npy", "labels": "b.npy"}
        )
    if "enum" in schema or "const" in schema:
        choices = schema.get("enum") or [schema["const"]]
        return choices[rng.integers(len(choices))]
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high = min(schema.get("maximum", schema.get("exclusiveMaximum", 1e6)), 1e6)
    match schema.get("type"):
        case "integer":
            return int(rng.choice([low, low + 1, high, rng.integers(low, int(high) + 1)]))
        case "number":
            return float(rng.choice([low, 1e-3 + low, high, rng.uniform(low, high), 10.0 ** rng.integers(-9, 4)]))
        case "array":
            return ["a", "b"][: int(rng.integers(3))]
        case "object":
            return {"0": 2.0, "1": 0.0}
        case "string":
            return str(rng.choice(["a", "rows.csv", "x.npz", "runs"]))
    return None


@cache
def _properties(section: str) -> dict[str, Any]:
    schema = config_schema()
    name = schema["properties"][section].get("$ref", "").rpartition("/")[2]
    properties: dict[str, Any] = schema["$defs"][name]["properties"]
    return properties
