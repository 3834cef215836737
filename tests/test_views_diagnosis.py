"""Each verdict: a training that provokes it and one that does not, and the evidence it must name."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from view_runs import config_with, made_history

from twolayer.config import config_from_dict, load_config
from twolayer.data.rows import ArrayRows
from twolayer.network.model import init_params
from twolayer.runs.logs import HISTORY_COLUMNS
from twolayer.solver.metrics import probabilities, weights_of_classes
from twolayer.solver.solver import Solver
from twolayer.training.run import train
from twolayer.utils.errors import DivergedError
from twolayer.views.diagnosis import RULES, Change, diagnose
from twolayer.views.run_data import RunData

CONFIGS = Path(__file__).parent.parent / "configs"


def run_of(history, n_classes, config=None, status="finished", y=None, P=None, classes=()):
    """A run with this history and (where given) these predictions for its validation rows."""
    return RunData(
        Path("run"),
        history,
        config or {},
        predictions={} if y is None else {"validation_y": y, "validation_proba": P},
        classes=classes or range(n_classes),
        status=status,
    )


def names(evidence):
    return [verdict.name for verdict in diagnose(evidence)]


def made(n_classes=10, status="finished", config=None, **columns):
    epochs = len(next(iter(columns.values()))) if columns else 40
    return run_of(made_history(epochs, **columns), n_classes, config or config_with(), status)


def blobs(n, n_classes=3, n_features=8, distance=2.5, seed=0, counts=None):
    """Rows around one centre for each class."""
    rng = np.random.default_rng(seed)
    centres = distance * np.random.default_rng(99).standard_normal((n_classes, n_features)) / math.sqrt(2)
    y = rng.integers(0, n_classes, n) if counts is None else np.repeat(np.arange(n_classes), counts)
    return centres[y] + rng.standard_normal((len(y), n_features)), y


def trained(train, validation, *, hidden=32, seed=0, config=None, class_weights=None, **settings):
    """A run that was really trained."""
    n_classes = int(train[1].max()) + 1
    params = init_params(train[0].shape[1], hidden, n_classes, rng=np.random.default_rng(seed))
    solver = Solver(params, *train, validation=validation, class_weights=class_weights, **settings)
    records, status = [], "finished"
    try:
        records.extend(solver)
    except DivergedError:
        status = "diverged"
    columns = {
        name: np.array([np.nan if record[name] is None else record[name] for record in records])
        for name in (records[0] if records else {"train_loss": 0})
    }
    rows = ArrayRows(validation[0].astype(np.float32))
    P = probabilities(solver.best_params, rows)
    config = config or config_with(model__hidden=hidden, solver__learning_rate=settings.get("learning_rate", 0.1))
    return run_of(columns, n_classes, config, status, validation[1], P, tuple("abcdefgh"[:n_classes]))


GOOD = {
    "optimizer": "momentum",
    "learning_rate": 0.05,
    "momentum": 0.9,
    "schedule": "cosine",
    "reg": 1e-3,
    "batch_size": 32,
}


def test_a_sound_training_raises_no_verdict():
    assert diagnose(trained(blobs(600), blobs(300, seed=1), epochs=20, **GOOD)) == ()
    assert diagnose(made()) == ()


def test_a_rate_too_high_is_distinguished_from_a_sound_one():
    rows = blobs(400), blobs(200, seed=1)
    assert names(trained(*rows, epochs=15, **(GOOD | {"learning_rate": 20.0})))[0] == "rate too high"
    assert "rate too high" not in names(trained(*rows, epochs=15, **GOOD))


def test_a_rate_too_high_is_seen_in_a_rising_loss_with_the_epoch_it_rose_from():
    loss = np.concatenate([np.linspace(2, 0.4, 10), np.linspace(0.5, 1.6, 10)])
    (verdict,) = diagnose(made(train_loss=loss))
    assert verdict.name == "rate too high"
    assert "from 0.4 (epoch 10) to 1.6" in verdict.evidence
    assert "0.1" in verdict.remedy


def test_a_rate_too_high_is_seen_in_its_steps_and_in_a_loss_above_guessing():
    assert names(made(update_ratio_W1=np.full(40, 0.3))) == ["rate too high"]
    assert names(made(train_loss=np.full(40, 1.2 * math.log(10)), update_ratio_W2=np.full(40, 0.05))) == [
        "rate too high"
    ]


def test_a_diverged_run_is_a_rate_too_high_even_after_one_epoch():
    assert names(made(status="diverged", train_loss=[1.0])) == ["rate too high"]
    assert names(made(train_loss=[1.0, np.nan])) == ["rate too high"]


def test_a_rate_too_low_is_distinguished_from_a_sound_one():
    rows = blobs(400), blobs(200, seed=1)
    slow = diagnose(trained(*rows, epochs=10, optimizer="sgd", learning_rate=1e-4))
    assert [verdict.name for verdict in slow] == ["rate too low"]
    assert "0.0001" in slow[0].remedy
    assert "rate too low" not in names(trained(*rows, epochs=10, **GOOD))


def test_small_steps_at_the_end_of_a_schedule_are_no_rate_too_low():
    assert names(made(update_ratio_W1=np.geomspace(3e-3, 1e-8, 40), update_ratio_W2=np.geomspace(3e-3, 1e-8, 40))) == []


def test_overfitting_is_reported_with_the_epoch_it_began():
    small, validation = blobs(40, n_features=30, distance=0.8), blobs(300, n_features=30, distance=0.8, seed=1)
    evidence = trained(small, validation, hidden=128, epochs=60, **(GOOD | {"reg": 0.0}))
    found = {verdict.name: verdict for verdict in diagnose(evidence)}
    k = int(evidence.column("val_loss").argmin())
    assert f"since epoch {k + 1} " in found["overfitting"].evidence
    enough = blobs(1500, n_features=30, distance=0.8), validation
    assert "overfitting" not in names(trained(*enough, hidden=16, epochs=12, **(GOOD | {"reg": 1e-2})))


def test_a_validation_loss_that_rises_with_the_training_loss_is_no_overfitting():
    rise = np.concatenate([np.linspace(2, 0.5, 20), np.linspace(0.5, 0.9, 20)])
    assert "overfitting" not in names(made(train_loss=rise, val_loss=rise + 0.1))


def test_overfitting_is_seen_in_the_gap_where_no_loss_rises():
    # Seen: training loss 0.0006, validation loss 0.39; the validation loss never rose by a quarter.
    late = np.linspace(0.45, 0.39, 40)
    right, held_out = np.linspace(0.9, 1.0, 40), np.linspace(0.8, 0.86, 40)
    columns = {"train_loss": np.geomspace(0.5, 6e-4, 40), "train_accuracy": right}
    (verdict,) = diagnose(made(**columns, val_loss=late, val_accuracy=held_out))
    assert verdict.name == "overfitting"
    assert "0.0006" in verdict.evidence
    assert "86.0% of the validation rows" in verdict.evidence
    assert diagnose(made(**columns, val_loss=late / 4, val_accuracy=held_out)) == ()  # sure of what it gets right
    assert diagnose(made(**columns, val_loss=late, val_accuracy=right - 0.02)) == ()


def test_overfitting_is_seen_in_a_validation_accuracy_that_falls():
    held_out = np.concatenate([np.linspace(0.5, 0.9, 20), np.linspace(0.9, 0.8, 20)])
    (verdict,) = diagnose(made(val_accuracy=held_out, train_accuracy=np.linspace(0.5, 0.99, 40)))
    assert verdict.name == "overfitting"
    assert "since epoch 20 the validation accuracy fell from 90.0% to 80.0%" in verdict.evidence
    few = np.repeat([0, 1], 10)  # of 20 rows, 90 % and 80 % are the same
    evidence = made(val_accuracy=held_out, train_accuracy=np.linspace(0.5, 0.99, 40))
    P = np.eye(2)[few] * 0.8 + 0.1
    assert "overfitting" not in names(replace(evidence, predictions={"validation_y": few, "validation_proba": P}))


@pytest.mark.parametrize(("rows", "reported"), [(20, True), (199, True), (200, False), (5000, False)])
def test_the_accuracy_of_few_validation_rows_comes_with_its_uncertainty(rows, reported):
    y = np.arange(rows) % 2
    right = np.arange(rows) % 10 != 0
    P = np.where((np.eye(2)[y] == 1) == right[:, None], 0.9, 0.1)
    found = diagnose(replace(made(2), predictions={"validation_y": y, "validation_proba": P}))
    assert [verdict.name for verdict in found] == ["few validation rows"] * reported
    if rows == 20:
        assert "0.900 comes from 20 rows" in found[0].evidence
        assert "between 0.70 and 0.97" in found[0].evidence  # Wilson's interval of 18 of 20, from a table


# Columns of a run with a problem, its status, and what the diagnosis calls it.
PROBLEMS = {
    "diverged": ({"train_loss": np.full(40, 3.0)}, "diverged", "rate too high"),
    "rising": ({"train_loss": np.linspace(0.4, 3, 40)}, "finished", "rate too high"),
    "large steps": ({"update_ratio_W1": np.full(40, 0.3)}, "finished", "rate too high"),
    "small steps": (
        {"train_loss": np.full(40, 2.2), "update_ratio_W1": np.full(40, 1e-5), "update_ratio_W2": np.full(40, 1e-5)},
        "finished",
        "rate too low",
    ),
    "unscaled": ({"activation_max": np.full(40, 900.0)}, "finished", "unscaled inputs"),
    "dead": ({"dead_share": np.full(40, 0.5)}, "finished", "dead units"),
    "rise": (
        {"val_loss": np.linspace(0.3, 2, 40), "train_loss": np.linspace(0.2, 0.01, 40)},
        "finished",
        "overfitting",
    ),
    "early": (
        {"train_loss": np.linspace(2, 0.8, 40), "val_loss": np.geomspace(2, 0.3, 40)},
        "finished",
        "stopped too early",
    ),
    "patience": (
        {"train_loss": np.linspace(2, 0.8, 40), "val_loss": np.geomspace(2, 0.3, 40)},
        "stopped_early",
        "stopped too early",
    ),
    "under": (
        {"train_loss": np.full(40, 1.5), "val_loss": np.full(40, 1.5), "train_accuracy": np.full(40, 0.6)},
        "finished",
        "underfitting",
    ),
}
# Both sides of every remedy: not in place, and in place already.
SETTINGS = {
    "data__scale": ["none", "standardize", "center"],
    "model__init": ["he", "xavier"],
    "model__hidden": [1, 2, 64],
    "solver__learning_rate": [1e-3, 20.0],
    "solver__reg": [0.0, 1e-4, 0.3],
    "solver__patience": [None, 3, 10],
    "solver__max_grad_norm": [None, 1.0, 5.0],
    "solver__class_weight": ["none", "balanced"],
}


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("seed", range(12))
def test_no_verdict_advises_what_is_already_so_and_what_it_advises_is_a_config(problem, seed):
    columns, status, name = PROBLEMS[problem]
    rng = np.random.default_rng(seed)
    chosen = {key: values[rng.integers(len(values))] for key, values in SETTINGS.items()}
    written = {"data": {"train": {"generator": "spiral"}}, "model": {}, "solver": {}}
    for key, value in chosen.items():
        section, _, key = key.partition("__")
        written[section][key] = value
    values = config_from_dict(written).model_dump()
    y = np.repeat(range(10), [60] * 9 + [10])
    P = np.where(np.eye(10)[y * (y < 9)] == 1, 0.91, 0.01)  # the last class is never recognised
    evidence = run_of(made_history(40, **columns), 10, values, status, y, P)
    found = diagnose(evidence)
    assert (name in [verdict.name for verdict in found]) or (
        name == "unscaled inputs" and chosen["data__scale"] != "none"
    )
    for verdict in found:
        assert verdict.remedies
        for change in (one for one in verdict.remedies if isinstance(one, Change)):
            section, _, key = change.key.partition(".")
            assert values[section][key] == change.present != change.proposed
            assert f"{change.key}=" in verdict.remedy
            changed = json.loads(json.dumps(written))
            changed[section][key] = change.proposed
            config_from_dict(changed)  # raises for a value that no config may have


def test_an_ignored_class_with_weights_in_place_is_not_advised_to_balance():
    y = np.repeat([0, 1], (104, 16))
    P = np.tile([0.8, 0.2], (len(y), 1))
    for weight, advised in (("none", True), ("balanced", False), ({"yes": 3.0}, False)):
        config = config_with(solver__class_weight=weight)
        found = diagnose(run_of(made_history(40), 2, config, y=y, P=P))
        (verdict,) = (each for each in found if each.name == "ignored class")
        assert ("solver.class_weight=balanced (now none)" in verdict.remedy) is advised


def test_underfitting_is_reported_where_no_line_can_do_it_and_a_hidden_layer_can():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 2))
    xor = X, (X[:, 0] * X[:, 1] > 0).astype(int)
    rows = xor, (xor[0][:200], xor[1][:200])
    (verdict,) = diagnose(trained(*rows, hidden=0, epochs=20, **GOOD))
    assert verdict.name == "underfitting"
    assert "model.hidden=64 (now 0)" in verdict.remedy
    assert "underfitting" not in names(
        trained(*rows, hidden=32, epochs=60, **(GOOD | {"learning_rate": 0.2, "reg": 0.0}))
    )


def test_underfitting_names_a_validation_loss_only_where_there_is_one():
    high = np.full(40, 1.5)
    (seen,), (unseen,) = (diagnose(made(train_loss=high, val_loss=val)) for val in (high, np.full(40, np.nan)))
    assert "validation loss is no worse." in seen.evidence
    assert "validation" not in unseen.evidence


@pytest.mark.parametrize(("accuracy", "reported"), [(1.0, False), (0.6, True)])
def test_a_high_loss_with_all_training_rows_right_is_no_underfitting(accuracy, reported):
    evidence = made(train_loss=np.full(40, 1.5), val_loss=np.full(40, 1.5), train_accuracy=np.full(40, accuracy))
    assert ("underfitting" in names(evidence)) is reported


def test_dead_units_are_reported_where_a_bad_start_killed_them():
    X, y = blobs(300)
    shifted = X - 30.0  # far from the origin: most units are on the same side for every row
    rows = (shifted, y), (shifted[:100], y[:100])
    assert "dead units" in names(trained(*rows, epochs=5, optimizer="adam", learning_rate=1e-3))
    sound = (X, y), (X[:100], y[:100])
    assert "dead units" not in names(trained(*sound, epochs=5, optimizer="adam", learning_rate=1e-3))


def test_units_that_fire_for_none_of_a_handful_of_rows_are_no_verdict():
    dead = {"dead_share": np.full(40, 0.5)}
    few, many = (config_with(solver__batch_size=size) for size in (5, 64))
    assert "dead units" in names(made(config=many, **dead, step=np.arange(1, 41)))
    assert "dead units" not in names(made(config=few, **dead, step=np.arange(1, 41)))


def test_unscaled_inputs_are_reported_with_and_without_a_hidden_layer():
    X, y = blobs(300)
    for hidden in (32, 0):
        config = config_with(data__scale="none", model__hidden=hidden)
        settings = {"hidden": hidden, "epochs": 3, "optimizer": "adam", "learning_rate": 1e-3, "config": config}
        large = (X * 200, y), (X[:100] * 200, y[:100])
        assert names(trained(*large, **settings))[0] == "unscaled inputs"
        assert "unscaled inputs" not in names(trained((X, y), (X[:100], y[:100]), **settings))


def test_an_ignored_class_is_reported_and_balanced_weights_bring_it_back():
    # A rare class close to a frequent one.
    counts = [400, 400, 12]
    X, y = blobs(0, distance=1.0, counts=counts)
    V, v = blobs(0, distance=1.0, counts=counts, seed=1)
    found = diagnose(trained((X, y), (V, v), hidden=0, epochs=10, **GOOD))
    verdict = next(each for each in found if each.name == "ignored class")
    assert "class 'c' has 12 of 812 validation rows" in verdict.evidence
    weights = weights_of_classes("balanced", [0, 1, 2], y)
    assert "ignored class" not in names(trained((X, y), (V, v), hidden=0, epochs=10, class_weights=weights, **GOOD))


@pytest.mark.parametrize(
    ("counts", "hits", "reported"),
    [((104, 16), 0, True), ((104, 16), 1, False), ((16, 4), 0, False), ((60, 60), 0, False)],
    ids=["never", "once", "too few to tell", "not rare"],
)
def test_a_class_without_one_hit_needs_no_great_imbalance(counts, hits, reported):
    y = np.repeat([0, 1], counts)
    P = np.tile([0.8, 0.2], (len(y), 1))
    P[counts[0] : counts[0] + hits] = [0.2, 0.8]
    evidence = run_of(made_history(40), 2, y=y, P=P, classes=("no", "yes"))
    said = [verdict.evidence for verdict in diagnose(evidence) if verdict.name == "ignored class"]
    assert bool(said) is reported
    if reported:
        assert f"class 'yes' has {counts[1]} of {len(y)} validation rows, and 0 of them were recognised" in said[0]
        assert f"most frequent class is right for {counts[0] / len(y):.1%} of" in said[0]


def test_a_training_stopped_too_early_is_reported_and_one_left_to_end_is_not():
    rows = blobs(500, distance=1.5), blobs(300, distance=1.5, seed=1)
    settings = {"optimizer": "sgd", "learning_rate": 0.02, "batch_size": 32}
    assert names(trained(*rows, epochs=3, **settings))[0] == "stopped too early"
    assert "stopped too early" not in names(trained(*rows, epochs=60, **settings))


@pytest.mark.parametrize(
    ("status", "more"), [("finished", "solver.epochs=80 (now 40)"), ("stopped_early", "solver.patience=10 (now 5)")]
)
def test_the_remedy_for_an_early_end_is_what_ended_the_run(status, more):
    falling, config = np.linspace(2, 0.8, 10), config_with(solver__patience=5)
    found = {
        each.name: each for each in diagnose(made(val_loss=falling, train_loss=falling, status=status, config=config))
    }
    assert more in found["stopped too early"].remedy
    assert ("epochs" in found["stopped too early"].remedy) == (status == "finished")


@pytest.mark.parametrize("status", ["interrupted", "running"])
def test_a_run_that_may_continue_did_not_stop_too_early(status):
    falling = np.linspace(2, 0.8, 10)
    assert "stopped too early" in names(made(val_loss=falling, train_loss=falling))
    assert "stopped too early" not in names(made(val_loss=falling, train_loss=falling, status=status))


@pytest.mark.parametrize("value", [-1e300, 7.0, np.inf, 1.7e308])
@pytest.mark.parametrize("column", [name for name in HISTORY_COLUMNS if name not in ("epoch", "step")])
def test_a_history_that_no_training_would_write_is_judged_without_error(column, value):
    y = np.arange(60) % 10
    evidence = made(**{column: np.linspace(1, 0.5, 40) * value})
    diagnose(replace(evidence, predictions={"validation_y": y, "validation_proba": np.eye(10)[y]}))


def test_a_run_of_unknown_classes_is_not_judged():
    assert diagnose(made(n_classes=0, train_loss=np.full(40, 9.0))) == ()


def test_verdicts_hold_without_validation_rows_hidden_layer_or_config():
    nothing = np.full(40, np.nan)
    gone = ("val_loss", "val_accuracy", "update_ratio_W1", "weight_norm_W1", "dead_share", "activation_max")
    assert diagnose(run_of(made_history(40, **dict.fromkeys(gone, nothing)), 10)) == ()
    assert diagnose(run_of({}, 10)) == ()


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_short_runs_are_judged_without_error(epochs):
    for evidence in (made(train_loss=np.linspace(2.2, 0.1, epochs)), made(train_loss=np.full(epochs, 9.0))):
        assert all(name in RULES for name in names(evidence))


def test_losses_too_large_to_reckon_with_are_judged_without_error():
    assert names(made(train_loss=np.full(10, 1.7e308), val_loss=np.full(10, 1.7e308))) == ["underfitting"]


def test_every_verdict_says_what_was_seen_and_what_to_try():
    verdicts = diagnose(made(train_loss=np.full(40, 9.0), status="diverged"))
    assert verdicts
    for verdict in verdicts:
        assert str(verdict) == f"{verdict.name}: {verdict.evidence} Try: {verdict.remedy}"
        assert verdict.evidence.endswith(".")
        assert verdict.remedy.endswith(".")


@pytest.mark.parametrize("name", ["optdigits", "spiral", "toy"])
def test_a_shipped_config_raises_no_false_alarm(tmp_path, name):
    config = load_config(CONFIGS / f"{name}.yaml")
    result = train(config, run_dir=tmp_path / "run")
    assert (
        diagnose(run_of(result.history, len(result.model.classes), config.model_dump(), result.summary["status"])) == ()
    )


def test_the_shipped_baseline_without_a_hidden_layer_is_said_to_underfit(tmp_path):
    result = train(CONFIGS / "spiral.yaml", ["model.hidden=0"], run_dir=tmp_path / "run")
    assert names(run_of(result.history, 3, {"model": {"hidden": 0}})) == ["underfitting"]
