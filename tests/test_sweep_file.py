"""The sweep file: all its problems and its base's in one report, each at its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweep_files import BASE, SPACE, write_sweep

from twolayer.sweep.file import load_sweep
from twolayer.utils.errors import ConfigError

SHIPPED = sorted((Path(__file__).parent.parent / "configs" / "sweeps").glob("*.yaml"))


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_sweep(path, overrides)
    return [problem.replace(f"{path.parent}/", "") for problem in caught.value.problems]


def test_nine_planted_errors_are_all_reported_each_with_its_place(tmp_path):
    space = """\
base: base.yaml
space:
  model.hiden: [3]
  solver.learning_rate: {log_unifrm: [1, 2]}
  solver.reg: [-1, 0.1, many]
  solver.optimizer: [adam, momentun]
  seed: [1, 2]
sampler: grd
trials: 0
worker: 3
"""
    found = problems(write_sweep(tmp_path, "", space=space))
    assert [problem.split(": ")[0] for problem in found] == [
        f"sweep.yaml:{place}" for place in ("3:3", "4:26", "5:16", "5:25", "6:28", "7:3", "8:1", "9:1", "10:1")
    ]
    hiden, form, negative, word, choice, seed, sampler, trials, worker = found
    assert hiden.endswith("no key of a config; did you mean 'model.hidden'?")
    assert "unknown key; did you mean 'log_uniform'?" in form
    assert negative.endswith("expected a number of at least 0, got -1")
    assert word.endswith("expected a number of at least 0, got 'many'")
    assert choice.endswith("did you mean 'momentum'?")
    assert "set their number with 'seeds'" in seed
    assert sampler.endswith("did you mean 'grid'?")
    assert trials.endswith("expected a whole number of at least 1 or null, got 0")
    assert worker.endswith("unknown key; did you mean 'workers'?")


def test_problems_of_the_base_are_in_the_same_report_with_their_own_places(tmp_path):
    path = write_sweep(tmp_path, "trials: none\n", base=BASE.replace("epochs: 6", "epoch: 6"))
    found = problems(path)
    assert found[0].startswith("sweep.yaml:5:1: trials: expected a whole number of at least 1 or null, got 'none'")
    assert found[1].startswith("base.yaml:6:10: solver.epoch: unknown key; did you mean 'epochs'?")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("solver.reg: {uniform: [1, 0]}", "expected the lower end first, got 1 and 0"),
        ("solver.reg: {uniform: [0]}", "expected two numbers, [LOW, HIGH], got a list of 1"),
        ("solver.reg: {log_uniform: [0, 1]}", "expected a logarithmic range to start above 0, got 0"),
        ("model.hidden: {integer: [1.5, 3]}", "space.model.hidden.integer[0]: expected a whole number, got 1.5"),
        ("model.hidden: {integer: [1, 8], step: 2}", "8 cannot be reached from 1 in steps of 2"),
        ("model.hidden: {integer: [1, 8], stepp: 7}", "unknown key; did you mean 'step'?"),
        (
            "model.hidden: {integer: [1, 8], uniform: [1, 2]}",
            "expected one of uniform, log_uniform, integer, got uniform and integer",
        ),
        ("model.hidden: []", "sweep.yaml:3:3: space.model.hidden: expected a list of 1 to 1000 values or {uniform: ["),
        ("model.hidden: [4, 4]", "occurs more than once"),
        (
            "model.hidden: [4, 5.5, 8]\n  solver.reg: [0, 0.1]",
            "sweep.yaml:3:21: space.model.hidden: expected a whole number",
        ),
        ("model.hidden: [[4]]", "expected text or a number or true or false or null, got a list of 1"),
        ("model.hidden: 4", "expected a list of 1 to 1000 values or {uniform: [LOW, HIGH]}, {log_uniform: [LOW"),
        ("model.hidden: {integer: [1, 2000000]}", "at most 1000000"),
        ("solver.momentum: {uniform: [0.5, 1.0]}", "below 1"),
        ("data.label: [a]", "results on other rows do not compare"),
        ("run.dir: [a, b]", "never changes what is learned"),
        ("solver.monitor: [val_loss]", "what the points are ranked by"),
        ("solver.beta1: [0.8]", "not used by optimizer: momentum"),
        ("solver.warmup_epochs: [1, 100]", "expected at most epochs"),
        ("learning_rate: [1, 2]", "did you mean 'solver.learning_rate'?"),
        ("solver.reg: {uniform: [0, 1], points: 3}", "only used by sampler: grid, not by random"),
    ],
)
def test_a_space_that_the_config_would_refuse_is_refused_before_training(tmp_path, entry, message):
    found = problems(write_sweep(tmp_path, space=f"base: base.yaml\nspace:\n  {entry}\n"))
    assert len(found) == 1
    assert found[0].startswith("sweep.yaml:3:")
    assert message in found[0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("", "give a budget, trials or minutes"),
        ("sampler: grid\n", "a grid needs the number of values"),
        ("trials: 3\nmin_epochs: 6\npruner: hyperband\n", "min_epochs: expected fewer than the training's 6, got 6"),
        ("trials: true\n", "sweep.yaml:5:1: trials: expected a whole number of at least 1 or null, got true"),
        ("minutes: .inf\n", "sweep.yaml:5:1: minutes: expected a number greater than 0 or null, got inf"),
        ("trials: 3\nrefit: 1\n", "expected true or false, got 1"),
    ],
)
def test_settings_that_do_not_fit_are_reported(tmp_path, more, message):
    found = problems(write_sweep(tmp_path, more))
    assert len(found) == 1
    assert message in found[0]


def test_keys_that_only_another_choice_of_the_space_uses_are_reported_with_that_choice(tmp_path):
    space = "base: base.yaml\nspace:\n  solver.optimizer: [adam, momentum]\n  solver.beta1: [0.9, 0.8]\ntrials: 3\n"
    found = problems(write_sweep(tmp_path, "", space=space))
    assert [each.split(", only")[0] for each in found] == [
        f"sweep.yaml:4:{column}: space.solver.beta1: not used by optimizer: momentum" for column in (18, 23)
    ]
    space = space.replace("[adam, momentum]", "[adam, adamw]")
    assert load_sweep(write_sweep(tmp_path, "", space=space)).max_points == 3


def test_a_choice_may_need_a_key_that_only_the_space_gives(tmp_path):
    space = "base: base.yaml\nspace:\n  solver.schedule: [step]\n  solver.step_epochs: [2, 5]\n"
    assert load_sweep(write_sweep(tmp_path, space=space)).max_points == 3
    (found,) = problems(write_sweep(tmp_path, space=space.replace("step_epochs: [2, 5]", "warmup_epochs: [0]")))
    assert found.startswith("sweep.yaml:3:21: solver.step_epochs: missing key")


MANY_NUMBERS = """\
  solver.learning_rate: [0.01, 0.03, 0.1, 0.3, 1]
  solver.reg: [0, 1e-5, 1e-4, 1e-3]
  model.hidden: [4, 8, 16, 32]
  solver.batch_size: [16, 32, 64]
"""
MANY_CHOICES = """\
  model.init: [he, xavier]
  model.dtype: [float32, float64]
  solver.class_weight: [none, balanced]
  solver.schedule: [constant, cosine, exponential]
  data.scale: [none, center, standardize, max]
  data.missing: [refuse, drop, mean]
"""


@pytest.mark.parametrize("many", [MANY_NUMBERS, MANY_CHOICES], ids=["numbers", "choices"])
def test_a_space_of_many_corners_is_also_checked_for_values_that_do_not_go_together(tmp_path, many):
    space = "base: base.yaml\nspace:\n  solver.optimizer: [momentum, adam]\n  solver.momentum: [0.8, 0.95]\n" + many
    found = problems(write_sweep(tmp_path, space=space))
    assert [problem.split(", only")[0] for problem in found] == [
        f"sweep.yaml:4:{column}: space.solver.momentum: not used by optimizer: adam" for column in (21, 26)
    ]
    space = space.replace("[momentum, adam]", "[momentum, nesterov]")
    assert load_sweep(write_sweep(tmp_path, space=space)).max_points == 3
    base = BASE.replace("epochs: 6", "epochs: 6, optimizer: sgd")  # which no point keeps
    assert load_sweep(write_sweep(tmp_path, space=space, base=base)).max_points == 3
    (found,) = problems(write_sweep(tmp_path, space=space.replace("0.8, 0.95", "0.8, 1, 0.95")))
    assert found.startswith("sweep.yaml:4:26: space.solver.momentum: expected a number")


def test_a_choice_takes_the_base_keys_of_the_old_choice_out_with_it(tmp_path):
    base = BASE.replace("epochs: 6", "epochs: 6, momentum: 0.8")
    space = "base: base.yaml\nspace:\n  solver.optimizer: [adam, momentum]\n"
    sweep = load_sweep(write_sweep(tmp_path, space=space, base=base))
    assert sweep.config({"solver.optimizer": "adam"}).solver.momentum == 0.9
    assert sweep.config({"solver.optimizer": "momentum"}).solver.momentum == 0.8


@pytest.mark.parametrize("monitor", ["train_loss", "dead_share"])
def test_a_base_that_is_not_ranked_by_validation_rows_is_refused(tmp_path, monitor):
    path = write_sweep(tmp_path, base=BASE.replace("epochs: 6", f"epochs: 6, monitor: {monitor}"))
    assert "points are ranked by validation rows" in problems(path)[0]


@pytest.mark.parametrize("text", ["", "3\n", "- 1\n", "base: base.yaml\n", "base: &a [*a]\n", "{" * 400])
def test_a_hostile_or_empty_file_is_a_report_and_no_traceback(tmp_path, text):
    path = write_sweep(tmp_path)
    path.write_text(text, encoding="utf-8")
    assert all(problem.startswith("sweep.yaml:") for problem in problems(path))


def test_a_key_of_the_space_outside_of_it_is_answered_with_its_place(tmp_path):
    (found,) = problems(write_sweep(tmp_path, "trials: 3\nsolver.reg: [0.1, 1]\n"))
    assert found == "sweep.yaml:6:1: solver.reg: unknown key; it belongs under 'space': {solver.reg: [...]}"


def test_a_base_that_is_not_there_is_named(tmp_path):
    assert problems(write_sweep(tmp_path, space=SPACE.replace("base.yaml", "bse.yaml"))) == [
        "sweep.yaml:1:1: base: 'bse.yaml', that is bse.yaml: no such file; did you mean 'base.yaml'?"
    ]


def test_overrides_go_through_the_same_check(tmp_path):
    path = write_sweep(tmp_path)
    assert load_sweep(path, ["workers=4", "trials=null", "minutes=1.5"]).settings.workers == 4
    (found,) = problems(path, "workers=0")
    assert found.startswith("override workers=0: workers: expected a whole number of at least 1 and at most 512, got 0")


def test_overrides_of_base_keys_are_checked_as_train_checks_them(tmp_path):
    path = write_sweep(tmp_path)
    sweep = load_sweep(path, ["solver.epochs=8", "trials=5"])
    assert sweep.base.solver.epochs == 8
    assert sweep.config({"model.hidden": 4}).solver.epochs == 8
    assert sweep.settings.trials == 5
    found = problems(path, "solver.epochs=0", "solver.epoch=8", "trials=0")
    assert [problem.split(": ")[:2] for problem in found] == [
        ["override trials=0", "trials"],
        ["override solver.epochs=0", "solver.epochs"],
        ["override solver.epoch=8", "solver.epoch"],
    ]
    assert "did you mean 'epochs'" in found[2]
    (both,) = problems(path, "model.hidden=12")
    assert "space.model.hidden: varied here and set by the override model.hidden=12" in both


def test_an_override_of_the_base_is_as_good_as_written_in_its_file(tmp_path, monkeypatch):
    """A point's choice takes the keys of another choice out again; a file is relative to the current folder."""
    space = "base: base.yaml\nspace:\n  solver.optimizer: [adam, momentum]\n"
    sweep = load_sweep(write_sweep(tmp_path, space=space), ["solver.momentum=0.8", "solver.schedule=cosine"])
    assert sweep.config({"solver.optimizer": "adam"}).solver.learning_rate == 0.001
    assert sweep.config({"solver.optimizer": "momentum"}).solver.momentum == 0.8
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "rows.csv").write_text("x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(20)))
    monkeypatch.chdir(tmp_path / "here")
    sweep = load_sweep(tmp_path / "sweep.yaml", ["data.train=rows.csv", "data.label=y"])
    assert sweep.config({"solver.optimizer": "adam"}).data.train == str(tmp_path / "here" / "rows.csv")


def test_folds_need_validation_rows_that_are_a_part_of_the_training_rows(tmp_path):
    (tmp_path / "rows.csv").write_text("x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(20)))
    base = "data: {train: rows.csv, validation: rows.csv, label: y}\n"
    (found,) = problems(write_sweep(tmp_path, "trials: 3\nfolds: 5\n", base=base))
    assert "sweep.yaml:6:1: folds: folds are parts of the training rows" in found
    sweep = load_sweep(write_sweep(tmp_path, "trials: 3\nfolds: 3\nseeds: 2\n"))
    config = sweep.config({"model.hidden": 4}, sweep.repeats[4])
    assert (config.seed, config.data.validation.fold, config.data.validation.folds) == (1, 2, 3)


def test_refit_needs_validation_rows_that_are_a_part_of_the_training_rows(tmp_path):
    rows = "x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(20))
    (tmp_path / "rows.csv").write_text(rows, encoding="utf-8")
    base = "data: {train: rows.csv, validation: rows.csv, label: y}\n"
    assert load_sweep(write_sweep(tmp_path, base=base))
    (found,) = problems(write_sweep(tmp_path, "trials: 3\nrefit: true\n", base=base))
    assert "sweep.yaml:6:1: refit: it trains on training and validation rows together, but" in found


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_sweeps_are_valid_and_every_key_of_theirs_is_commented(path):
    sweep = load_sweep(path)
    assert sweep.max_points
    lines = path.read_text("utf-8").splitlines()
    assert all("#" in line for line in lines if line and not line.startswith("  "))
    assert len(SHIPPED) >= 2


def test_a_range_that_a_grid_cannot_visit_is_checked_by_the_rules_of_its_key_as_well(tmp_path):
    space = "base: base.yaml\nsampler: grid\nspace:\n  solver.momentum: {uniform: [0, 2]}\n"
    found = "\n".join(problems(write_sweep(tmp_path, "", space=space)))
    assert "a grid needs the number of values" in found
    assert "below 1, got 2" in found


def test_the_space_needs_a_mapping(tmp_path):
    path = write_sweep(tmp_path, space=SPACE.partition("space:")[0] + "space: 3\n")
    assert problems(path) == ["sweep.yaml:2:1: space: expected a mapping of config keys to their values, got 3"]


def test_a_point_with_another_optimizer_takes_that_ones_default_rate(tmp_path):
    base = BASE.replace("epochs: 6", "epochs: 6, learning_rate: 0.2")
    space = "base: base.yaml\nspace:\n  solver.optimizer: [momentum, adam]\ntrials: 2\n"
    sweep = load_sweep(write_sweep(tmp_path, "", space=space, base=base))
    rates = [sweep.config({"solver.optimizer": name}).solver.learning_rate for name in ("momentum", "adam")]
    assert rates == [0.2, 0.001]
