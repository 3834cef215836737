"""What `check` looks at before training: each check passes on sound input and fails on the mistake it is for."""

import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from twolayer.commands import check
from twolayer.commands.check import check_config, few_rows_memorised, network_findings, scan
from twolayer.config import config_from_dict
from twolayer.data.rows import ArrayRows
from twolayer.network.backprop import loss_and_gradients
from twolayer.network.model import init_params
from twolayer.utils.errors import CheckFailedError

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


def problem(hidden=16, n_classes=4, n_rows=20, n_features=6, seed=0):
    rng = np.random.default_rng(seed)
    params = init_params(n_features, hidden, n_classes, rng=rng, dtype=np.float64)
    return params, rng.standard_normal((n_rows, n_features)), rng.integers(0, n_classes, n_rows)


def csv_file(path, rows, header="a,b,c,label"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")
    return str(path)


def table(n=60, seed=0):
    """Three features and a label that one of them decides."""
    X = np.random.default_rng(seed).standard_normal((n, 3)).round(6)
    return [(*row, "yes" if row[0] > 0 else "no") for row in X]


def findings(**data):
    return list(check_config(config_from_dict({"data": {"label": "label", "validation": 0, **data}})))


def test_sound_data_and_code_pass_every_check(tmp_path):
    train, test = csv_file(tmp_path / "train.csv", table()), csv_file(tmp_path / "test.csv", table(seed=1))
    found = findings(train=train, test=test)
    assert [each.verdict for each in found] == ["ok"] * len(found)
    assert len(found) == 8
    assert "60 train, 60 test; 3 features, 2 classes" in found[0].what


def test_rows_in_both_train_and_test_are_a_note_with_their_number(tmp_path):
    train = csv_file(tmp_path / "train.csv", table())
    test = csv_file(tmp_path / "test.csv", table()[:7] + table(5, seed=1))
    (note,) = [each for each in findings(train=train, test=test) if each.verdict != "ok"]
    assert note.verdict == "note"
    assert "test rows that are also training rows: 7 of 12" in note.what


def test_constant_features_and_repeated_rows_are_notes(tmp_path):
    rows = [(a, 5.0, c, label) for a, _, c, label in table()]
    notes = [each for each in findings(train=csv_file(tmp_path / "t.csv", [*rows, rows[3]])) if each.verdict == "note"]
    assert [note.what for note in notes] == [
        "features that are constant over the training rows: 'b'",
        "training rows that repeat an earlier one: 1",
    ]


def test_rows_with_the_same_features_and_another_label_are_a_note(tmp_path):
    rows = table()
    train = csv_file(tmp_path / "t.csv", [*rows, (*rows[0][:3], "no"), (*rows[0][:3], "yes")])
    notes = [each.what for each in findings(train=train) if each.verdict == "note"]
    assert notes == [
        "training rows that repeat an earlier one: 2",
        "training rows with the features of an earlier one and another label: 1",
    ]


def test_unscaled_features_are_a_note_that_names_the_feature(tmp_path):
    train = csv_file(tmp_path / "t.csv", [(a, b * 500, c, label) for a, b, c, label in table()])
    (note,) = [each for each in findings(train=train, scale="none") if "try data.scale" in each.what]
    assert note.verdict == "note"
    assert "; b is of order" in note.what
    assert all("try data.scale" not in each.what for each in findings(train=train, scale="standardize"))


def test_an_outlier_among_standardised_values_is_no_unscaled_feature(tmp_path):
    rows = table(2000)
    train = csv_file(tmp_path / "t.csv", [(5000.0, *rows[0][1:]), *rows[1:]])
    (ranges,) = [each for each in findings(train=train) if "run from" in each.what]
    assert ranges.verdict == "ok"
    assert "to 44.7" in ranges.what  # sqrt(2000 - 1)


def test_labels_that_contradict_each_other_cannot_be_memorised():
    params, X, y = problem()
    X[:] = X[0]
    found = few_rows_memorised(params, X, y)
    assert found.verdict == "FAIL"
    assert "could not memorise" in found.what


def test_twenty_random_labels_are_memorised():
    assert few_rows_memorised(*problem(hidden=64)).verdict == "ok"


def test_without_a_hidden_layer_the_lowest_loss_is_enough():
    X = np.array([[0.0, 0], [1, 1], [0, 1], [1, 0]] * 5)
    params = init_params(2, 0, 2, rng=np.random.default_rng(0), dtype=np.float64)
    found = few_rows_memorised(params, X - 0.5, np.array([0, 0, 1, 1] * 5))
    assert found.verdict == "ok"
    assert "the lowest possible" in found.what


def test_an_imbalance_is_a_note(tmp_path):
    for classes, verdict in ((["b"] * 21 + ["a"] * 2, "note"), (["b"] * 20 + ["a"] * 2, "ok")):
        rows = [(*row[:3], label) for row, label in zip(table(len(classes)), classes, strict=True)]
        (found,) = [each for each in findings(train=csv_file(tmp_path / "t.csv", rows)) if "a: 2, b: 2" in each.what]
        assert found.verdict == verdict


def summed(params, X, y, reg=0.0):
    loss, gradients = loss_and_gradients(params, X, y, reg)
    return loss * len(X), gradients


def without_half(params, X, y, reg=0.0):
    return loss_and_gradients(params, X, y, 2 * reg)


def wrong_bias(params, X, y, reg=0.0):
    loss, gradients = loss_and_gradients(params, X, y, reg)
    return loss, gradients._replace(b1=gradients.b1 * 1.001)


def verdicts(params, X, y, reg=0.0):
    """The verdicts on the loss at the start, the penalty, the gradients and the rows to memorise."""
    return [each.verdict for each in network_findings(params, X, y, reg, np.random.default_rng(0))]


@pytest.mark.parametrize("reg", [0.0, 1e-6, 0.5])
def test_sound_code_passes_with_any_reg(reg):
    params, X, y = problem(hidden=64)
    found = list(network_findings(params, X, y, reg, np.random.default_rng(0)))
    assert [each.verdict for each in found] == ["ok"] * 4
    assert f"ln 4 = {math.log(4):.4f}" in found[0].what


@pytest.mark.parametrize("reg", [0.0, 1e-6, 0.5])
@pytest.mark.parametrize(("function", "failing"), [(summed, 0), (without_half, 1), (wrong_bias, 2)])
def test_a_wrong_loss_penalty_or_gradient_fails(function, failing, reg, monkeypatch):
    monkeypatch.setattr(check, "loss_and_gradients", function)
    assert verdicts(*problem(), reg)[failing] == "FAIL"


def test_a_start_far_above_guessing_is_a_note():
    params, X, y = problem()
    assert verdicts(params._replace(W2=params.W2 * 100), X, y)[0] == "note"


def test_of_a_large_network_fewer_entries_are_probed_and_a_wrong_gradient_still_fails(monkeypatch):
    monkeypatch.setattr(check, "few_rows_memorised", lambda *_: None)  # which takes long and probes nothing
    calls = dict.fromkeys((2, 2000), 0)

    def counting(params, X, y, reg):
        calls[params.n_features] += 1
        return loss_and_gradients(params, X, y, reg)

    for D in calls:
        rng = np.random.default_rng(0)
        params, X, y = init_params(D, 500, 3, rng=rng, dtype=np.float64), rng.standard_normal((5, D)), np.arange(5) % 3
        for function, verdict in ((counting, "ok"), (wrong_bias, "FAIL")):
            monkeypatch.setattr(check, "loss_and_gradients", function)
            assert list(network_findings(params, X, y, 0.1, np.random.default_rng(0)))[2].verdict == verdict
    assert calls[2000] < calls[2] / 3


def test_rows_that_repeat_with_another_label_do_not_count_among_those_to_memorise(tmp_path):
    rows = table(40)
    other = [(*row[:3], {"yes": "no", "no": "yes"}[row[3]]) for row in rows]
    found = findings(train=csv_file(tmp_path / "t.csv", [*rows, *other]))
    assert found[-1].verdict == "ok"
    assert found[-1].what.startswith("20 rows memorised")
    assert any("of an earlier one and another label: 40" in each.what for each in found)


def test_a_scan_by_blocks_sees_every_row(monkeypatch):
    monkeypatch.setattr(check, "BLOCK_ROWS", 7)
    X = np.random.default_rng(0).standard_normal((50, 3))
    X[13] = X[44]
    X[20], X[41] = 0.0, -0.0
    low, high, rms, hashes = scan(ArrayRows(X))
    np.testing.assert_array_equal([low, high], [X.min(axis=0), X.max(axis=0)])
    np.testing.assert_allclose(rms, np.sqrt((X**2).mean(axis=0)))
    assert len(hashes) == 50
    assert len(set(hashes)) == 48
    assert hashes[13] == hashes[44]
    assert hashes[20] == hashes[41]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_no_shipped_config_fails(path):
    from twolayer.config import load_config

    assert [each for each in check_config(load_config(path)) if each.verdict == "FAIL"] == []


def test_the_command_prints_a_line_for_each_check_and_raises_if_one_fails(tmp_path):
    from twolayer.commands.check import command

    random = [(*row[:3], "abc"[k % 3]) for k, row in enumerate(table())]
    good, bad = csv_file(tmp_path / "good.csv", table()), csv_file(tmp_path / "bad.csv", random)
    for name, source in (("good", good), ("bad", bad)):
        (tmp_path / f"{name}.yaml").write_text(f"data:\n  train: {source}\n  label: label\n  validation: 0\n")
    result = CliRunner().invoke(command, [str(tmp_path / "good.yaml"), "model.hidden=8"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()) == 8
    result = CliRunner().invoke(command, [str(tmp_path / "bad.yaml"), "model.hidden=1"])
    assert "FAIL  could not memorise 20 rows" in result.output
    assert isinstance(result.exception, CheckFailedError)
    assert result.exception.exit_code == 1


def test_a_table_is_judged_as_init_does(tmp_path):
    rng = np.random.default_rng(1)
    rows = [(i, *rng.standard_normal(3).round(4), "ny"[i % 2], "NY"[i % 2], "pq"[i % 3 % 2]) for i in range(100)]
    train = csv_file(tmp_path / "t.csv", rows, header="id,a,b,target,survived,copy,group")
    categorical = {"categorical": ["copy", "group"]}
    notes = [each.what for each in findings(train=train, label="survived", **categorical) if each.verdict == "note"]
    assert [note.partition(":")[0] for note in notes] == [
        "'target' is a quantity (many different numbers); this program classifies",
        "possible leak",
        "column 'id'",
    ]
    assert "column 'copy' is a copy of the label" in notes[1]
    assert "a different whole number in each row; data.ignore leaves it out" in notes[2]
    ignoring = findings(train=train, label="survived", ignore=[0, "copy", "target"], categorical=["group"])
    assert not [each for each in ignoring if each.what.startswith("column")]
    (label,) = [each for each in findings(train=train, label="group", ignore=["survived"], categorical=["copy"])
                if each.what.startswith("the label is")]  # fmt: skip
    assert label.verdict == "note"
    assert "the likeliest columns: 'survived' (by its name, 2 different values); 'group' (" in label.what


def test_the_notes_of_the_config_come_first(tmp_path):
    data = {"train": csv_file(tmp_path / "t.csv", table()), "label": "label", "validation": 0}
    solver = {"optimizer": "adam", "learning_rate": 0.1}
    first = next(check_config(config_from_dict({"data": data, "solver": solver})))
    assert first.verdict == "note"
    assert first.what.startswith("solver.learning_rate: 0.1 is 100 times the default of optimizer: adam")
