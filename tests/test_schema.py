"""The JSON Schema: current, valid, strict, and of one mind with the loader; the reference table made from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from twolayer.config import Config, config_from_dict, config_schema
from twolayer.config.checking import expected
from twolayer.config.document import Report, read_document
from twolayer.config.models import KEYS
from twolayer.utils.errors import ConfigError

CONFIGS = Path(__file__).parent.parent / "configs"
SPIRAL = {"generator": "spiral"}

GOOD: list[dict[str, Any]] = [
    {"data": {"train": SPIRAL}},
    {"seed": 3, "data": {"train": {"generator": "toy", "rows": 7}, "test": SPIRAL, "validation": 0.2}},
    {"data": {"train": "a.csv", "label": -1, "ignore": ["id", 3], "categorical": []}},
    {"data": {"train": {"features": "x", "labels": "y"}, "test": 0.1, "validation": {"features": "v", "labels": "w"}}},
    {"data": {"train": SPIRAL}, "solver": {"optimizer": "sgd", "learning_rate": 1}},
    {"data": {"train": SPIRAL}, "solver": {"optimizer": "nesterov", "momentum": 0.5}},
    {"data": {"train": SPIRAL}, "solver": {"momentum": 0.5}},
    {"data": {"train": SPIRAL}, "solver": {"optimizer": "adamw", "beta1": 0.5, "epsilon": 1e-7}},
    {"data": {"train": SPIRAL}, "solver": {"schedule": "step", "step_epochs": 3, "factor": 0.5}},
    {"data": {"train": SPIRAL}, "solver": {"class_weight": {"a": 0.5}, "patience": 3, "max_grad_norm": None}},
    {"data": {"train": SPIRAL}, "model": {"init": "normal", "init_std": 0.5, "hidden": 0}},
    {"data": {"train": SPIRAL}, "run": {"snapshot_epochs": 5, "dir": "out"}},
]
BAD: list[Any] = [
    None,
    [],
    {},
    {"data": {}},
    {"data": {"train": 3}},
    {"data": {"train": None}},
    {"data": {"train": ""}},
    {"data": {"train": {"generator": "moons"}}},
    {"data": {"train": {"generator": "toy", "noise": 1}}},
    {"data": {"train": {"features": "x"}}},
    {"data": {"train": SPIRAL, "test": 1.5}},
    {"data": {"train": SPIRAL, "validation": -0.1}},
    {"data": {"train": SPIRAL, "labels": "x"}},
    {"data": {"train": SPIRAL}, "extra": 1},
    {"data": {"train": SPIRAL}, "seed": -1},
    {"data": {"train": SPIRAL}, "seed": True},
    {"data": {"train": SPIRAL}, "model": None},
    {"data": {"train": SPIRAL}, "model": {"hidden": "64"}},
    {"data": {"train": SPIRAL}, "model": {"init_std": 0.5}},
    {"data": {"train": SPIRAL}, "solver": {"optimizer": "lbfgs"}},
    {"data": {"train": SPIRAL}, "solver": {"learning_rate": 0}},
    {"data": {"train": SPIRAL}, "solver": {"momentum": 1}},
    {"data": {"train": SPIRAL}, "solver": {"rho": 0.5}},
    {"data": {"train": SPIRAL}, "solver": {"optimizer": "sgd", "momentum": 0.5}},
    {"data": {"train": SPIRAL}, "solver": {"factor": 0.5}},
    {"data": {"train": SPIRAL}, "solver": {"schedule": "step"}},
    {"data": {"train": SPIRAL}, "solver": {"class_weight": {"a": -1}}},
    {"data": {"train": SPIRAL}, "solver": {"patience": 0}},
    {"data": {"train": SPIRAL}, "run": {"checkpoint_seconds": "30"}},
]


def is_valid(document: Any) -> bool:
    jsonschema = pytest.importorskip("jsonschema")
    return bool(jsonschema.Draft202012Validator(config_schema()).is_valid(document))


def is_accepted(document: Any) -> bool:
    try:
        config_from_dict(document, require_files=False)
    except ConfigError:
        return False
    return True


def test_the_committed_schema_is_current() -> None:
    committed = (CONFIGS / "schema.json").read_text(encoding="utf-8")
    assert committed == json.dumps(config_schema(), indent=2) + "\n", (
        "write it again: twolayer schema > configs/schema.json"
    )


def test_the_schema_is_valid_draft_2020_12() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(config_schema())


@pytest.mark.parametrize("document", GOOD)
def test_schema_and_loader_both_accept_a_good_value(document: Any) -> None:
    assert is_accepted(document)
    assert is_valid(document)


@pytest.mark.parametrize("document", BAD)
def test_schema_and_loader_both_refuse_a_bad_value(document: Any) -> None:
    assert not is_accepted(document)
    assert not is_valid(document)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_fits_the_schema(path: Path) -> None:
    document = read_document(path, Report())
    assert document is not None
    assert is_valid(document.data)


def test_every_mapping_of_the_schema_is_closed_and_every_key_described() -> None:
    schema = config_schema()
    for part in [schema, *schema["$defs"].values()]:
        assert part["additionalProperties"] is False
        for name, entry in part["properties"].items():
            assert entry.get("description"), name


def test_every_key_has_its_words_and_its_meaning() -> None:
    keys = ["seed", *(f"{s}.{k}" for s in ("data", "model", "solver", "run") for k in section_fields(s))]
    assert list(KEYS) == keys
    assert all(field.description for field in KEYS.values())
    assert all(expected(tuple(key.split("."))) for key in KEYS)
    assert expected(("solver", "reg")) == "a number of at least 0"
    assert expected(("solver", "schedule")) == "one of constant, step, exponential, cosine, plateau"


def section_fields(section: str) -> list[str]:
    model: Any = Config.model_fields[section].annotation
    return list(model.model_fields)
