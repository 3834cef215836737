"""The loader: all problems in one report with their places, overrides, and the rules between keys."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twolayer.config import Config, config_from_dict, dump_config, load_config, rules
from twolayer.data import load_dataset, sources
from twolayer.utils.errors import ConfigError, DataError

SPIRAL: dict[str, Any] = {"generator": "spiral"}


def write(folder: Path, text: str, name: str = "a.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return [problem.replace(f"{path.parent}{os.sep}", "") for problem in caught.value.problems]


def problems_of(values: dict[str, Any], *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config_from_dict(values, overrides)
    return caught.value.problems


def spiral(**sections: Any) -> dict[str, Any]:
    return {"data": {"train": SPIRAL}, **sections}


def test_six_planted_errors_are_all_reported_each_with_its_place(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
data:
  train: nowhere.csv
  label: digit
solver:
  learning_rte: 0.1
  batch_size: many
  learning_rate: -0.5
  schedule: cosin
  reg: 1e-4
  reg: 1e-3
""",
    )
    found = problems(path)
    assert [problem.split(" ", 2)[:2] for problem in found] == [
        ["a.yaml:2:3:", "data.train:"],
        ["a.yaml:5:3:", "solver.learning_rte:"],
        ["a.yaml:6:3:", "solver.batch_size:"],
        ["a.yaml:7:3:", "solver.learning_rate:"],
        ["a.yaml:8:3:", "solver.schedule:"],
        ["a.yaml:10:3:", "solver.reg:"],
    ]
    missing, typo, wrong_type, negative, choice, duplicate = found
    assert missing.endswith("'nowhere.csv', that is nowhere.csv: no such file")
    assert typo == "a.yaml:5:3: solver.learning_rte: unknown key; did you mean 'learning_rate'?"
    assert wrong_type.endswith("expected a whole number of at least 1, got 'many'")
    assert negative.endswith("expected a number greater than 0, got -0.5")
    assert choice.endswith(
        "expected one of constant, step, exponential, cosine, plateau, got 'cosin'; did you mean 'cosine'?"
    )
    assert "duplicate key, given before in line 9" in duplicate


def test_every_duplicate_is_reported_and_so_are_errors_inside_a_section_given_twice(tmp_path: Path) -> None:
    text = "seed: 1\nseed: 2\nseed: 3\ndata:\n  train: {generator: toy}\nsolver:\n  reg: 0\nsolver:\n  regg: 0\n"
    places = [problem.split(": ")[0] for problem in problems(write(tmp_path, text))]
    assert places == ["a.yaml:2:1", "a.yaml:3:1", "a.yaml:8:1", "a.yaml:9:3"]


def test_a_value_given_twice_is_still_judged(tmp_path: Path) -> None:
    found = problems(write(tmp_path, "data: {train: {generator: toy}}\nsolver:\n  reg: -1\n  reg: 2\n"))
    assert len(found) == 2
    assert "got -1" in found[0]


def test_a_good_file_gives_typed_frozen_values_and_the_file_name_as_the_run_name(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "data:\n  train: {generator: toy}\nsolver:\n  reg: 1e-3\n", "mine.yaml"))
    assert config.solver.reg == 0.001
    assert config.name == "mine"
    assert config.source == tmp_path / "mine.yaml"
    with pytest.raises(ValueError, match="frozen"):
        config.solver.reg = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("seed", True, "a whole number of at least 0"),
        ("seed", 1.0, "a whole number"),
        ("seed", -1, "expected a whole number of at least 0, got -1"),
        ("data.validation", 1.0, "a number of at least 0 and below 1"),
        ("data.label", True, "a column's name or its position"),
        ("data.ignore", "id", "data.ignore: expected a list (each a column's name or its position), got 'id'"),
        ("data.scale", "minmax", "one of none, center, standardize, max"),
        ("model.hidden", -1, "a whole number of at least 0"),
        ("model.hidden", "64", "model.hidden: expected a whole number of at least 0 and at most 1000000, got '64'"),
        ("model.dtype", "float31", "did you mean 'float32'"),
        ("solver.learning_rate", 0, "greater than 0"),
        ("solver.learning_rate", float("nan"), "solver.learning_rate: expected a number greater than 0, got nan"),
        ("solver.reg", float("inf"), "solver.reg: expected a number of at least 0, got inf"),
        ("solver.reg", "yes", "solver.reg: expected a number of at least 0, got 'yes'"),
        ("solver.momentum", 1, "below 1"),
        ("solver.batch_size", 0, "at least 1"),
        ("solver.patience", 0, "at least 1 or null"),
        ("solver.class_weight", {"a": -1}, "solver.class_weight.a: expected a number of at least 0, got -1"),
        ("solver.class_weight", "balance", "did you mean 'balanced'"),
        ("solver.monitor", "seconds", "expected one of val_accuracy"),
        ("run.dir", "", "a folder name"),
        ("run", None, "give it a key or remove the line"),
        (
            "run",
            [],
            "{dir, checkpoint_seconds, evaluate_rows, redraw_seconds, refit, snapshot_epochs}, got a list of 0",
        ),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_reported(key: str, value: Any, expected: str) -> None:
    values: dict[str, Any] = spiral()
    section, _, name = key.partition(".")
    if name:
        values.setdefault(section, {})[name] = value
    else:
        values[section] = value
    (problem,) = problems_of(values)
    assert problem.startswith(key)
    assert expected in problem


@pytest.mark.parametrize(
    ("unknown", "hint"),
    [
        ({"solver": {"lr": 0.1}}, "solver.lr: unknown key; did you mean 'learning_rate'?"),
        ({"solver": {"weight_decay": 0.1}}, "solver.weight_decay: unknown key; did you mean 'reg'?"),
        ({"solver": {"Epochs": 3}}, "solver.Epochs: unknown key; did you mean 'epochs'?"),
        ({"hidden": 3}, "hidden: unknown key; did you mean 'model.hidden'?"),
        ({"solver": {"hidden": 3}}, "solver.hidden: unknown key; did you mean 'model.hidden'?"),
        ({"modle": {}}, "modle: unknown key; did you mean 'model'?"),
        ({"zzz": 1}, "zzz: unknown key; known: seed, data, model, solver, run"),
    ],
)
def test_an_unknown_key_is_reported_with_the_nearest_known_one(unknown: dict[str, Any], hint: str) -> None:
    assert problems_of(spiral(**unknown)) == [hint]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            {"generator": "spirl"},
            ["data.train.generator: expected one of spiral, toy, got 'spirl'; did you mean 'spiral'?"],
        ),
        ({"features": "x.npy"}, ["data.train.labels: missing key; expected a file name"]),
        ({}, ["data.train.features: missing key", "data.train.labels: missing key"]),
        ({"generator": "toy", "noise": 1}, ["data.train.noise: unknown key in this form"]),
        (
            3,
            ["data.train: expected a file name or a list (each a file name) or {features: FILE, labels: FILE} or {gen"],
        ),
        (None, ["data.train: expected "]),
    ],
)
def test_of_a_source_only_the_form_that_was_meant_is_judged(source: Any, said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_dict({"data": {"train": source}}, require_files=False)
    assert len(caught.value.problems) == len(said)
    for problem, start in zip(caught.value.problems, said, strict=True):
        assert problem.startswith(start)


def test_missing_keys_are_placed_at_what_is_around_them(tmp_path: Path) -> None:
    assert problems(write(tmp_path, "seed: 1\ndata:\n  scale: none\n"))[0].startswith("a.yaml:2:1: data.train: missing")
    assert problems(write(tmp_path, "\nseed: 1\n"))[0].startswith("a.yaml:2:1: data: missing key")
    for empty in ("", "# nothing\n", "null\n", "- 1\n", "only words\n"):
        (problem,) = problems(write(tmp_path, empty))
        assert "expected the keys seed, data, model, solver, run" in problem


def test_data_paths_start_from_the_file_and_those_of_overrides_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("configs", "data", "here"):
        (tmp_path / folder).mkdir()
    for name in ("data/a.csv", "here/b.csv", "data/x.npy", "data/y.npy"):
        (tmp_path / name).touch()
    path = write(tmp_path / "configs", "data:\n  train: ../data/a.csv\n  label: c\n")
    monkeypatch.chdir(tmp_path / "here")
    config = load_config(path, ["data.test=b.csv"])
    assert config.data.train == str(tmp_path / "data/a.csv")
    assert config.data.test == str(tmp_path / "here/b.csv")
    assert config.run.dir == str(tmp_path / "here/runs")
    pair = load_config(path, ["data.train={features: ../data/x.npy, labels: ../data/y.npy}"])
    assert pair.data.model_dump()["train"] == {
        "features": str(tmp_path / "data/x.npy"),
        "labels": str(tmp_path / "data/y.npy"),
    }


def test_data_paths_lead_from_a_linked_folder_where_the_system_s_do(tmp_path: Path, monkeypatch: Any) -> None:
    for folder in ("data", "srv/configs", "srv/data"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "rows.csv").touch()
    (tmp_path / "cfg").symlink_to("srv/configs")
    write(tmp_path / "srv", "data:\n  train: data/rows.csv\n  label: c\n")
    write(tmp_path / "cfg", "data:\n  train: ../data/rows.csv\n  label: c\n")
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "cfg/a.yaml", "cfg/a.yaml", "cfg/../a.yaml"):
        assert load_config(path).data.train == str(tmp_path / "srv/data/rows.csv")


def test_files_that_cannot_be_data_are_reported_before_anything_is_opened(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names on this system")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "rows.csv").touch()
    (tmp_path / "folder.csv").mkdir()
    text = "data:\n  train: row.csv\n  test: pipe.csv\n  validation: folder.csv\n  label: c\n"
    found = problems(write(tmp_path, text))
    assert "data.train: 'row.csv', that is row.csv: no such file; did you mean 'rows.csv'?" in found[0]
    assert "pipe.csv: cannot be read: expected a regular file, got a pipe" in found[1]
    assert "folder.csv: cannot be read: expected a regular file, got a folder" in found[2]
    assert load_config(tmp_path / "a.yaml", require_files=False).data.label == "c"
    (problem,) = problems_of(spiral(), 'data.test="a\\0b.npz"')
    assert "cannot be read" in problem


def test_overrides_are_judged_with_the_file_and_placed_by_what_was_written(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {train: {generator: toy}}\nsolver: {epoch: 3}\n")
    assert problems(path, "solver.reg=abc", "solver.lr=1", "nonsense", "=3", "solver.epochs=[1") == [
        "a.yaml:2:10: solver.epoch: unknown key; did you mean 'epochs'?",
        "override solver.reg=abc: solver.reg: expected a number of at least 0, got 'abc'",
        "override solver.lr=1: solver.lr: unknown key; did you mean 'learning_rate'?",
        "override nonsense: expected KEY=VALUE, e.g. solver.reg=1e-3",
        "override =3: expected KEY=VALUE, e.g. solver.reg=1e-3",
        "override solver.epochs=[1: solver.epochs: not valid YAML: the bracket that opens here is not closed, "
        "or a comma or quotes are missing",
    ]


def test_overrides_are_yaml_and_the_last_of_one_key_counts() -> None:
    overrides = ["solver.reg=1e-3", "solver.reg=2e-3", "solver.patience=", "run={dir: out}", "data.train.noise=0.5"]
    config = config_from_dict(spiral(), [*overrides, "solver.class_weight.a=2"])
    assert config.solver.reg == 0.002
    assert config.solver.patience is None
    assert config.run.dir == os.path.abspath("out")
    assert config.data.model_dump()["train"]["noise"] == 0.5
    assert config.solver.class_weight == {"a": 2.0}


def test_an_override_into_a_value_that_has_no_keys_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 4\ndata: {train: {generator: toy}}\n")
    assert problems(path, "seed.x=1") == ["override seed.x=1: seed.x: seed is 4 here, which has no keys inside"]


def test_another_choice_by_override_takes_the_keys_of_the_old_choice_out(tmp_path: Path) -> None:
    text = "data: {train: a.csv, label: c, ignore: [id]}\nsolver:\n  optimizer: momentum\n  momentum: 0.5\n"
    path = write(tmp_path, text)
    (tmp_path / "a.csv").touch()
    config = load_config(path, ["solver.optimizer=adam", "data.train={generator: spiral}"])
    assert config.solver.optimizer == "adam"
    assert config.solver.momentum == 0.9
    assert config.data.label is None
    assert config.data.ignore == ()
    assert len(problems(path, "solver.optimizer=adam", "solver.momentum=0.6")) == 1


@pytest.mark.parametrize(
    ("solver", "said"),
    [
        ({"optimizer": "sgd", "rho": 0.9}, "solver.rho: not used by optimizer: sgd, only by rmsprop; remove 'rho'"),
        ({"optimizer": "adam", "momentum": 0.5}, "solver.momentum: not used by optimizer: adam, only by momentum, n"),
        ({"beta1": 0.5}, "solver.beta1: not used by optimizer: momentum, only by adam, adamw"),
        ({"factor": 0.5}, "solver.factor: not used by schedule: constant"),
        ({"schedule": "step"}, "solver.step_epochs: missing key: schedule: step needs"),
        ({"schedule": "cosine", "min_learning_rate": 0.5}, "solver.min_learning_rate: expected at most learning_rate"),
        ({"warmup_epochs": 50}, "solver.warmup_epochs: expected at most epochs (40), got 50"),
    ],
)
def test_keys_that_do_not_fit_each_other_are_reported(solver: dict[str, Any], said: str) -> None:
    (problem,) = problems_of(spiral(solver=solver))
    assert problem.startswith(said)


@pytest.mark.parametrize(
    ("section", "values", "key"),
    [
        ("solver", {"optimizer": "adam", "momentum": 0.9}, "solver.momentum"),
        ("solver", {"optimizer": "sgd", "beta1": 0.9}, "solver.beta1"),
        ("solver", {"schedule": "constant", "min_learning_rate": 0.0}, "solver.min_learning_rate"),
        ("solver", {"schedule": "cosine", "plateau_patience": 5}, "solver.plateau_patience"),
        ("model", {"init": "he", "init_std": 0.01}, "model.init_std"),
    ],
)
def test_a_key_left_over_from_another_choice_is_refused_at_its_default_value(  # type: ignore[no-untyped-def]
    tmp_path, section, values, key
) -> None:
    lines = [f"  {name}: {value}" for name, value in values.items()]
    path = write(tmp_path, "\n".join(["data: {train: {generator: spiral}}", f"{section}:", *lines]))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert f"a.yaml:4:3: {key}: not used by " in str(caught.value)
    assert f"remove '{key.split('.')[1]}'" in str(caught.value)


def test_a_dict_may_hold_all_keys_of_a_config() -> None:
    config = config_from_dict(spiral(solver={"optimizer": "adam"}))
    assert config_from_dict(config.model_dump()) == config
    assert "momentum: not used by" in problems_of(spiral(solver={"optimizer": "adam", "momentum": 0.5}))[0]


def test_min_delta_and_refit_need_what_they_act_on() -> None:
    assert "used only by patience and schedule: plateau" in problems_of(spiral(solver={"min_delta": 0.1}))[0]
    for solver in ({"patience": 3}, {"schedule": "plateau"}):
        assert config_from_dict(spiral(solver={"min_delta": 0.1, **solver})).solver.min_delta == 0.1
    data = {"train": SPIRAL, "validation": 0}
    assert "needs validation rows" in problems_of({"data": data, "run": {"refit": True}})[0]


def test_a_learning_rate_gives_way_to_the_default_of_an_optimizer_chosen_by_override(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("data: {train: {generator: spiral}}\nsolver: {learning_rate: 0.2, momentum: 0.8}\n", "utf-8")
    config = load_config(path, ["solver.optimizer=adam"])
    assert config.solver.learning_rate == 0.001
    (note,) = config.notes
    assert note.startswith("solver.learning_rate: 0.2 was for optimizer: momentum; with adam it is 0.001, the default")
    for overrides in (["solver.optimizer=nesterov"], ["solver.optimizer=adam", "solver.learning_rate=0.002"]):
        config = load_config(path, overrides)  # the same default, or a rate of its own
        assert config.solver.learning_rate == (0.002 if len(overrides) > 1 else 0.2)
        assert config.notes == ()


def test_a_learning_rate_far_above_the_optimizers_default_gets_a_note() -> None:
    (note,) = config_from_dict(spiral(solver={"optimizer": "adam", "learning_rate": 0.1})).notes
    assert note.startswith("solver.learning_rate: 0.1 is 100 times the default of optimizer: adam")
    assert "write learning_rate: 0.001" in note
    assert config_from_dict(spiral(solver={"optimizer": "adam", "learning_rate": 0.01})).notes == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data:\n\ttrain: x\n", "a.yaml:2:1: a tab; YAML is indented with spaces"),
        ("data:\n  train: x\n    test: y\n", "a.yaml:3:5: the indentation fits no line above"),
        ("data:\n  train: x\n test: y\n", "a.yaml:3:2: the indentation fits no line above"),
        ("seed: 1\nrun:\n  dir: x\n  refit:true\n", "a.yaml:4:3: 'refit:true' has no space after the colon"),
        ("solver:\n  reg: 1\n  epochs:40\n  batch_size: 3\n", "a.yaml:3:3: 'epochs:40' has no space after the colon"),
        ("solver:\n  epochs:40\n  reg: 1\n", "2:3: 'epochs:40' has no space after the colon; write 'epochs: 40'"),
        ("solver:\n  epochs:40\n", "got 'epochs:40'; write 'epochs: 40', with a space after the colon"),
        ("solver:\n  epochs:40\n", "a.yaml:2:3: solver: expected {engine, "),
        ("solver:\n  epochs = 40\n", "got 'epochs = 40'; write 'epochs: 40', with a space after the colon"),
        ("seed: 0\nepochs=40\n", "a.yaml:2:1: expected KEY: VALUE, got 'epochs=40'"),
        ("data:\n  label: 'y\n", "a.yaml:2:10: the quote that opens here is never closed"),
        ("data: {train: {generator: spiral}, validation: 15}\n", "got 15; 15 % is 0.15"),
        ("data:\n  ignore: id, name\n", "got 'id, name'; write [id, name]"),
        ("data:\n  ignore: [id, name\nseed: 1\n", "a.yaml:2:11: not valid YAML: the bracket that opens here"),
        ("data:\n  label: is it: so\n", "a.yaml:2:15: a second colon; put the value in quotes"),
        ('data:\n  train: "C:\\data"\n', "a.yaml:2:14: a backslash in double quotes begins an escape"),
        ("data:\n  label: @y\n", "a.yaml:2:10: text that begins with this character needs quotes"),
        ("data: {train: {generator: spiral}, validation: 15%}\n", "data.validation: '15%': no such file; 15 % is 0.15"),
    ],
)
def test_mistakes_of_a_first_config_are_named_in_plain_words(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "a.yaml")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("solver.optimiser", "'optimizer'"),
        ("solver.lr", "'learning_rate'"),
        ("solver.batch", "'batch_size'"),
        ("solver.l2", "'reg'"),
        ("solver.n_epochs", "'epochs'"),
        ("model.units", "'hidden'"),
        ("data.target", "'label'"),
        ("data.sep", "'separator'"),
        ("lr", "'solver.learning_rate'"),
        ("hidden_layer_sizes", "'model.hidden'"),
    ],
)
def test_names_that_others_use_lead_to_the_key(written: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown key; did you mean {meant}"):
        config_from_dict(spiral(), [f"{written}=3"])


def test_a_list_of_files_is_a_source_whose_paths_hold_from_elsewhere(tmp_path: Path) -> None:
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).touch()
    path = write(tmp_path, "data: {train: [a.bin, b.bin], test: 0.2}\n")
    config = load_config(path)
    assert config.data.train == (str(tmp_path / "a.bin"), str(tmp_path / "b.bin"))
    again = write(tmp_path, dump_config(config, tmp_path), "again.yaml")
    assert "train: [a.bin, b.bin]" in again.read_text()
    assert load_config(again) == config
    (tmp_path / "b.bin").unlink()
    with pytest.raises(ConfigError, match=r"a\.yaml:1:23: data\.train\[1\]: 'b\.bin', that is .*: no such file"):
        load_config(path)


def test_numbers_of_numpy_are_numbers() -> None:
    config = config_from_dict(spiral(model={"hidden": np.array([16])[0]}, solver={"reg": np.float64(0.1)}))
    assert (config.model.hidden, config.solver.reg) == (16, 0.1)


def test_a_notebook_shows_the_report_and_no_frames() -> None:
    shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell(colors="nocolor")
    result = io.StringIO()
    with redirect_stdout(result):
        shell.run_cell(f"import twolayer\ntwolayer.train({{'data': {SPIRAL!r}, 'model': {{'hiden': 3}}}})")
    assert "model.hiden: unknown key; did you mean 'hidden'?" in result.getvalue()
    assert len(result.getvalue().splitlines()) < 8


def test_init_std_belongs_to_normal() -> None:
    assert config_from_dict(spiral(model={"init": "normal", "init_std": 0.5})).model.init_std == 0.5
    assert "not used by init: he" in problems_of(spiral(model={"init_std": 0.5}))[0]


@pytest.mark.parametrize(("name", "is_csv"), [("a.csv", True), ("a.csv.gz", True), ("a.npz", False), ("a.bin", False)])
def test_csv_needs_a_label_and_nothing_else_has_columns(name: str, is_csv: bool) -> None:
    def problems_with(data: dict[str, Any]) -> list[str]:
        try:
            config_from_dict({"data": {"train": name, **data}}, require_files=False)
        except ConfigError as error:
            return error.problems
        return []

    assert bool(problems_with({})) is is_csv
    assert bool(problems_with({"label": "c", "ignore": ["a"], "categorical": ["b"]})) is not is_csv
    assert problems_with({"label": None, "ignore": [], "categorical": []}) == problems_with({})


def test_config_and_data_agree_on_which_files_are_csv() -> None:
    for name in (
        "a.csv",
        "a.csv.gz",
        "a.data",
        "a.npz",
        "a.npy",
        "a.bin",
        "x-idx3-ubyte.gz",
        "x-ubyte",
        "b.idx",
        "plain",
    ):
        assert rules.is_table(name) == sources.is_table(name), name


def test_columns_in_two_roles_are_reported_with_their_places(tmp_path: Path) -> None:
    text = "data:\n  train: a.csv\n  label: c\n  ignore: [c, x]\n  categorical: [x]\n"
    write(tmp_path, "x,z,c\n1,2,a\n", "a.csv")
    assert problems(write(tmp_path, text)) == [
        "a.yaml:4:3: data.ignore: 'c' is the label; take it out of this list",
        "a.yaml:5:3: data.categorical: column 'x' is also in 'ignore'; take it out of one of the lists",
    ]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"ignore": ["c"]}, "expected the label 'c' in neither 'ignore' nor 'categorical', got it in one"),
        ({"ignore": ["x"], "categorical": [0]}, "expected column 'x' in 'ignore' or 'categorical', got it in both"),
    ],
)
def test_a_column_in_two_roles_is_refused(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    table = write(tmp_path, "x,z,c\n1,2,a\n3,4,b\n", "a.csv")
    with pytest.raises(DataError, match=f"a.csv: {said}"):
        load_dataset(train=str(table), label="c", **columns)


def test_a_monitor_needs_the_rows_and_units_it_is_about() -> None:
    without: dict[str, Any] = {"data": {"train": SPIRAL, "validation": 0}}
    assert config_from_dict(without).solver.monitor == "train_loss"
    assert config_from_dict(spiral()).solver.monitor == "val_accuracy"
    (problem,) = problems_of({**without, "solver": {"monitor": "val_loss", "patience": 3}})
    assert problem == "solver.monitor: val_loss needs validation rows; set data.validation, or monitor: train_loss"
    (problem,) = problems_of(spiral(model={"hidden": 0}, solver={"monitor": "dead_share"}))
    assert "needs a hidden layer" in problem


@pytest.mark.parametrize(
    ("solver", "key", "value"),
    [
        ({"optimizer": "sgd"}, "learning_rate", 0.1),
        ({"optimizer": "adam"}, "learning_rate", 0.001),
        ({"optimizer": "rmsprop"}, "learning_rate", 0.001),
        ({"optimizer": "adam", "learning_rate": 0.1}, "learning_rate", 0.1),
        ({"schedule": "exponential"}, "factor", 0.95),
        ({"schedule": "plateau"}, "factor", 0.5),
        ({"schedule": "step", "step_epochs": 3}, "factor", 0.1),
    ],
)
def test_defaults_follow_the_choice_they_depend_on(solver: dict[str, Any], key: str, value: float) -> None:
    assert getattr(config_from_dict(spiral(solver=solver)).solver, key) == value


def test_rules_are_silent_about_values_already_reported() -> None:
    said = problems_of(spiral(solver={"optimizer": "adan", "rho": 0.5, "schedule": 3, "factor": 0.2}))
    assert [problem.split(":")[0] for problem in said] == ["solver.optimizer", "solver.schedule"]


def test_a_dict_is_read_as_a_file_would_be_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.npz").touch()
    values: dict[str, Any] = {"data": {"train": tmp_path / "a.npz", "ignore": ()}, "solver": {"class_weight": {3: 2}}}
    config = config_from_dict(values)
    assert config.data.train == str(tmp_path / "a.npz")
    assert config.solver.class_weight == {"3": 2.0}
    assert values["data"]["train"] == tmp_path / "a.npz"
    assert (config.name, config.source) == ("run", None)
    assert isinstance(config, Config)


def test_a_dict_that_holds_itself_or_a_key_in_two_types_is_refused() -> None:
    loop: dict[str, Any] = spiral()
    loop["solver"] = {"class_weight": loop}
    assert "nested deeper" in problems_of(loop)[0]
    assert "duplicate key" in problems_of(spiral(solver={"class_weight": {1: 2, "1": 3}}))[0]


def test_a_missing_file_is_reported_with_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path, "", "optdigits.yaml")
    assert problems(tmp_path / "optdigit.yaml") == ["optdigit.yaml: no such file; did you mean 'optdigits.yaml'?"]
    assert problems(tmp_path) == [f"{tmp_path.name}: cannot be read: expected a regular file, got a folder"]


def test_many_errors_end_in_a_count(tmp_path: Path) -> None:
    text = "data: {train: {generator: toy}}\n" + "".join(f"key{i}: 1\n" for i in range(80))
    found = problems(write(tmp_path, text))
    assert len(found) == 51
    assert found[-1] == "... and 30 more problems"
