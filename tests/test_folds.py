"""Cross-validation: the stratified folds of a table, and what a config says about them."""

from __future__ import annotations

import numpy as np
import pytest

from twolayer.config import config_from_dict, dump_config, load_config
from twolayer.data import load_dataset
from twolayer.data.dataset import stratified_folds
from twolayer.utils.errors import ConfigError, DataError

SPIRAL = {"generator": "spiral", "classes": 3, "rows_per_class": 7}


def test_every_row_is_held_out_once_and_sizes_and_classes_differ_by_at_most_one():
    held, sizes, counts = [], [], []
    for fold in range(1, 5):
        dataset = load_dataset(train=SPIRAL, validation={"fold": fold, "folds": 4}, seed=3)
        rows = dataset.validation.row_numbers
        assert not set(rows) & set(dataset.train.row_numbers)
        assert len(rows) + len(dataset.train) == 21
        held += rows.tolist()
        sizes.append(len(rows))
        counts.append(np.bincount(dataset.validation.y, minlength=3))
    assert sorted(held) == list(range(21))
    assert np.ptp(sizes) <= 1
    assert np.ptp(counts, axis=0).max() <= 1


def test_folds_depend_on_the_seed_and_leave_the_test_rows_where_a_fraction_puts_them():
    def rows(seed, validation):
        dataset = load_dataset(train=SPIRAL, test=0.3, validation=validation, seed=seed)
        return dataset.test.row_numbers.tolist(), dataset.validation.row_numbers.tolist()

    fold = {"fold": 1, "folds": 3}
    assert rows(0, fold) == rows(0, fold)
    assert rows(0, fold)[1] != rows(1, fold)[1]
    assert rows(0, fold)[0] == rows(0, 0.2)[0]
    assert not set(rows(0, fold)[0]) & set(rows(0, fold)[1])


def test_the_members_of_a_class_are_dealt_out_at_random():
    y = np.repeat([0, 1], 20)
    folds = [stratified_folds(y, 2, "ab", np.random.default_rng(seed), "rows") for seed in range(40)]
    share = np.mean(folds, axis=0)  # of the 40 draws that put a row into the second fold
    assert share.min() > 0.15
    assert share.max() < 0.85


def test_too_few_rows_for_the_folds_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="at least 2 of each class, one for each part, got class 'b' has 1 row"):
        stratified_folds(np.array([0, 0, 0, 1]), 2, "ab", rng, "rows")
    with pytest.raises(DataError, match="at least 5 rows, one for each fold, got 4"):
        stratified_folds(np.array([0, 0, 1, 1]), 5, "ab", rng, "rows")


def test_a_config_names_its_fold_keeps_it_and_refuses_one_outside(tmp_path):
    data = {"train": {"generator": "spiral"}, "validation": {"fold": 2, "folds": 5}}
    config = config_from_dict({"data": data})
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config
    for fold, message in ((6, r"expected at most folds \(5\), got 6"), (0, "data.validation.fold")):
        with pytest.raises(ConfigError, match=message):
            config_from_dict({"data": {**data, "validation": {"fold": fold, "folds": 5}}})
