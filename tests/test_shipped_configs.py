"""The shipped configs load, are commented key by key, and are what their data sets need."""

from __future__ import annotations

from pathlib import Path

import pytest

from twolayer.config import config_schema, dump_config, load_config
from twolayer.config.document import Report, read_document
from twolayer.network.optim import OPTIMIZERS
from twolayer.network.schedules import SCHEDULES

CONFIGS = Path(__file__).parent.parent / "configs"
ALL = sorted(CONFIGS.glob("*.yaml"))
HIDDEN = {"fashion-mnist": 128, "letter": 128, "optdigits": 64, "spiral": 100, "toy": 10}


def test_each_data_set_has_its_config() -> None:
    assert {path.stem: load_config(path).model.hidden for path in ALL} == HIDDEN


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_shipped_config_loads_names_its_schema_and_can_be_dumped(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    first = path.read_text(encoding="utf-8").splitlines()[0]
    prefix, _, schema = first.partition("$schema=")
    assert prefix == "# yaml-language-server: "
    assert (path.parent / schema).is_file()
    (tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_every_key_has_its_comment_beside_it(path: Path) -> None:
    document = read_document(path, Report())
    assert document is not None
    lines = path.read_text(encoding="utf-8").splitlines()
    for keys, place in document.places.items():
        is_section = len(keys) == 1 and keys != ("seed",)
        if keys and not is_section:
            assert "  # " in lines[place.line - 1], lines[place.line - 1]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_choices_are_written_out_beside_the_value(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for line in text.splitlines():
        key = line.split(":")[0].strip()
        if key in ("optimizer", "schedule", "scale", "engine", "init", "missing", "dtype", "class_weight"):
            value = line.split(":", 1)[1].split("#")[0].strip()
            assert value in line.split("#")[1]
            assert line.count("|") >= 1


def test_an_optimizer_can_be_changed_by_one_override() -> None:
    for optimizer in ("sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"):
        config = load_config(CONFIGS / "optdigits.yaml", [f"solver.optimizer={optimizer}"])
        assert config.solver.optimizer == optimizer


def test_the_config_offers_the_optimisers_and_schedules_that_there_are() -> None:
    def offered(key: str) -> list[str]:
        return config_schema()["$defs"]["SolverConfig"]["properties"][key]["enum"]

    assert offered("optimizer") == list(OPTIMIZERS)
    assert offered("schedule") == list(SCHEDULES)
