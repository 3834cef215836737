"""Dumped configs load to the same config from anywhere; differences are reported by key."""

from __future__ import annotations

import ntpath
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twolayer.config import Config, config_from_dict, differences, dump_config, load_config

COLUMN = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8) | st.integers(-99, 99)
RATE = st.floats(1e-9, 1e3)
DECAY = st.floats(0, 1, exclude_max=True)
MAYBE_COUNT = st.none() | st.integers(1, 10**6)
GENERATED = st.fixed_dictionaries(
    {"generator": st.just("spiral")},
    optional={"classes": st.integers(2, 9), "rows_per_class": st.integers(1, 500), "noise": st.floats(0, 2)},
) | st.fixed_dictionaries({"generator": st.just("toy")}, optional={"rows": st.integers(2, 99)})
NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=12)
CSV = NAME.map(lambda name: name + ".csv")
PAIR = st.fixed_dictionaries({"features": NAME, "labels": NAME})


@st.composite
def data_sections(draw: st.DrawFn) -> dict[str, Any]:
    train = draw(CSV | PAIR | GENERATED)
    section: dict[str, Any] = {
        "train": train,
        "test": draw(st.none() | st.floats(0, 0.9) | PAIR | GENERATED),
        "validation": draw(st.floats(0.01, 0.9) | CSV),
        "missing": draw(st.sampled_from(["refuse", "drop", "mean"])),
        "scale": draw(st.sampled_from(["none", "center", "standardize", "max"])),
    }
    if isinstance(train, str):
        columns = draw(st.lists(COLUMN, min_size=1, max_size=7, unique_by=str))
        section |= {"label": columns[0], "ignore": columns[1:4], "categorical": columns[4:]}
    return section


@st.composite
def solver_sections(draw: st.DrawFn) -> dict[str, Any]:
    optimizer = draw(st.sampled_from(["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"]))
    schedule = draw(st.sampled_from(["constant", "step", "exponential", "cosine", "plateau"]))
    own: dict[str, list[str]] = {
        "momentum": ["momentum"],
        "nesterov": ["momentum"],
        "rmsprop": ["rho"],
        "adam": ["beta1", "beta2"],
        "adamw": ["beta1", "beta2"],
    }
    section: dict[str, Any] = {"optimizer": optimizer, "schedule": schedule, "learning_rate": draw(RATE)}
    section |= {name: draw(DECAY) for name in own.get(optimizer, [])}
    if schedule == "step":
        section["step_epochs"] = draw(st.floats(0.1, 100))
    if schedule in ("step", "exponential", "plateau") and draw(st.booleans()):
        section["factor"] = draw(st.floats(1e-3, 1))
    return section | {
        "reg": draw(st.floats(0, 10)),
        "batch_size": draw(st.integers(1, 10**6)),
        "class_weight": draw(
            st.sampled_from(["none", "balanced"]) | st.dictionaries(NAME, st.floats(0, 9), max_size=3)
        ),
        "patience": draw(MAYBE_COUNT),
        "max_grad_norm": draw(st.none() | RATE),
    }


CONFIGS = st.fixed_dictionaries(
    {"data": data_sections(), "solver": solver_sections()},
    optional={
        "seed": st.integers(0, 2**63 - 1),
        "model": st.fixed_dictionaries(
            {"hidden": st.integers(0, 999), "dtype": st.sampled_from(["float32", "float64"])}
        ),
        "run": st.fixed_dictionaries({"dir": NAME, "snapshot_epochs": MAYBE_COUNT}),
    },
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dumped")


@settings(max_examples=120, deadline=None)
@given(values=CONFIGS, relative=st.booleans())
def test_a_dumped_config_loads_to_the_same_config(folder: Path, values: dict[str, Any], relative: bool) -> None:
    config = config_from_dict(values, require_files=False)
    path = folder / "config.yaml"
    path.write_text(dump_config(config, folder if relative else None), encoding="utf-8")
    again = load_config(path, require_files=False)
    assert again == config
    assert differences(again, config) == {}
    assert dump_config(again) == dump_config(config)


def test_a_dumped_config_makes_the_same_config_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("project/configs", "project/data", "project/runs/r1", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "project/data/a.csv").touch()
    source = tmp_path / "project/configs/a.yaml"
    source.write_text("data:\n  train: ../data/a.csv\n  label: c\n")
    monkeypatch.chdir(tmp_path / "project")
    config = load_config("configs/a.yaml")
    kept = tmp_path / "project/runs/r1/config.yaml"
    kept.write_text(dump_config(config, kept.parent))
    assert "train: ../../data/a.csv" in kept.read_text()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_config(kept) == config
    kept.write_text(dump_config(config))
    os.rename(kept, tmp_path / "elsewhere/other.yaml")
    assert load_config("other.yaml") == config


def spiral(**sections: Any) -> Config:
    return config_from_dict({"data": {"train": {"generator": "spiral"}}, **sections})


def test_only_the_keys_in_use_are_written_each_with_its_meaning() -> None:
    text = dump_config(spiral(solver={"optimizer": "adam", "schedule": "cosine"}))
    keys = [line.split(":")[0].strip() for line in text.splitlines()]
    assert "beta1" in keys
    assert "min_learning_rate" in keys
    assert not {"momentum", "rho", "factor", "step_epochs", "plateau_patience", "init_std"} & set(keys)
    for line in text.splitlines():
        assert line.endswith(":") or line.startswith("seed") or "  # " in line


def test_differences_are_reported_by_key_with_both_values() -> None:
    a = spiral(seed=1, solver={"reg": 0.1})
    b = spiral(seed=2, solver={"reg": 0.1, "epochs": 3})
    assert differences(a, b) == {"seed": (1, 2), "solver.epochs": (40, 3)}
    assert a != b
    assert a != "something else"


def test_data_on_another_drive_keeps_its_absolute_path(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_from_dict({"data": {"train": {"generator": "spiral"}}})
    config = config.model_copy(update={"data": config.data.model_copy(update={"train": r"D:\rows.npz"})})
    monkeypatch.setattr("twolayer.config.os", SimpleNamespace(path=ntpath))
    for folder, train in ((r"C:\configs", r"D:\\rows.npz"), (r"D:\configs", r"..\\rows.npz")):
        assert f'  train: "{train}"  # ' in dump_config(config, folder)


def test_the_comments_list_the_choices_and_what_to_remove_before_another_one(tmp_path: Path) -> None:
    text = dump_config(config_from_dict({"data": {"train": {"generator": "spiral"}}, "solver": {"optimizer": "adam"}}))
    comments = {line.split(":")[0].strip(): line.partition("  # ")[2] for line in text.splitlines()}
    assert comments["optimizer"].startswith("sgd | momentum | nesterov | rmsprop | adam | adamw    the update")
    assert comments["optimizer"].endswith("; to choose another, remove epsilon, beta1, beta2, learning_rate")
    assert comments["missing"].startswith("missing cells: error (refuse), drop the row (drop)")
    assert comments["epochs"] == "passes over the training rows"
    text = text.replace("optimizer: adam", "optimizer: sgd")
    kept = [line for line in text.splitlines() if not line.strip().startswith(("epsilon", "beta", "learning_rate"))]
    (tmp_path / "sgd.yaml").write_text("\n".join(kept))
    assert load_config(tmp_path / "sgd.yaml").solver.learning_rate == 0.1
