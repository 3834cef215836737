"""The estimator: scikit-learn's own checks, its tools around it, and what MLPClassifier's users have asked for."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")

import joblib
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_iris, make_classification
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from twolayer import TwoLayerClassifier, init_params
from twolayer.network.model import forward, softmax
from twolayer.utils.errors import DivergedError

IRIS = load_iris(return_X_y=True)


def standardized(data):
    X, y = data
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def same_params(a, b):
    pairs = zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True)
    return all(left.dtype == right.dtype and np.array_equal(left, right) for left, right in pairs)


@pytest.mark.filterwarnings("ignore:Skipping check check_array_api_input")
@parametrize_with_checks(
    [
        TwoLayerClassifier(),
        TwoLayerClassifier(hidden=0, optimizer="nesterov", schedule="exponential", epochs=40, reg=1e-3),
        TwoLayerClassifier(class_weight="balanced"),
        TwoLayerClassifier(optimizer="rmsprop", min_delta=0.1),
        TwoLayerClassifier(hidden=16, optimizer="momentum", learning_rate=0.05, schedule="cosine"),
        TwoLayerClassifier(hidden=16, optimizer="adamw", learning_rate=0.01, reg=1e-3, max_grad_norm=1.0),
        TwoLayerClassifier(hidden=16, optimizer="sgd", shuffle=False, init="xavier", warmup_epochs=2),
        TwoLayerClassifier(init="normal", init_std=0.1, learning_rate=0.01, schedule="step", evaluate_rows=None),
    ]
)
def test_scikit_learns_own_check_passes(estimator, check):
    check(estimator)


class TestAmongScikitLearnsTools:
    def test_grid_search_finds_the_width_that_separates(self):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((200, 2))
        y = np.where(X[:, 0] * X[:, 1] > 0, "same", "opposed")
        grid = {"twolayerclassifier__hidden": [0, 16], "twolayerclassifier__reg": np.array([0.0, 1e-3])}
        pipeline = make_pipeline(
            StandardScaler(), TwoLayerClassifier(learning_rate=0.01, epochs=30, batch_size=16, random_state=0)
        )
        search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
        assert search.best_params_["twolayerclassifier__hidden"] == 16
        assert search.best_score_ > 0.9

    def test_cross_val_score_in_parallel_equals_one_process(self):
        X, y = standardized(IRIS)
        model = TwoLayerClassifier(hidden=8, learning_rate=0.01, epochs=20, random_state=0)
        alone = cross_val_score(model, X, y, cv=3)
        assert np.array_equal(alone, cross_val_score(model, X, y, cv=3, n_jobs=2))
        assert alone.mean() > 0.8

    def test_calibration_keeps_the_accuracy(self):
        X, y = load_breast_cancer(return_X_y=True)
        X = StandardScaler().fit_transform(X)
        model = CalibratedClassifierCV(TwoLayerClassifier(hidden=8, epochs=20, random_state=0), cv=3).fit(X, y)
        assert model.score(X, y) > 0.95
        assert np.allclose(model.predict_proba(X).sum(axis=1), 1)

    @pytest.mark.parametrize("through", ["pickle", "joblib"])
    def test_a_stored_model_predicts_and_continues_the_same(self, through, tmp_path):
        X, y = standardized(IRIS)
        model = TwoLayerClassifier(hidden=8, epochs=3, warm_start=True, random_state=0).fit(X, y)
        if through == "pickle":
            copy = pickle.loads(pickle.dumps(model))
        else:
            joblib.dump(model, tmp_path / "model.joblib")
            copy = joblib.load(tmp_path / "model.joblib")
        assert np.array_equal(copy.predict_proba(X), model.predict_proba(X))
        assert same_params(copy.fit(X, y), model.fit(X, y))

    def test_a_clone_has_the_parameters_and_nothing_learnt(self):
        model = TwoLayerClassifier(hidden=3, class_weight={0: 2.0}, monitor="train_loss").fit(*standardized(IRIS))
        copy = clone(model)
        assert copy.get_params() == model.get_params()
        assert not hasattr(copy, "coefs_")


class TestRowsAndLabels:
    @pytest.mark.parametrize("library", ["pandas", "polars"])
    def test_frames_give_their_column_names(self, library):
        frames = pytest.importorskip(library)
        X, y = standardized(IRIS)
        names = ["a", "b", "c", "d"]
        frame = frames.DataFrame(dict(zip(names, X.T, strict=True)))
        labels = frames.Series(np.array(["setosa", "versicolor", "virginica"])[y])
        model = TwoLayerClassifier(hidden=8, epochs=5, random_state=0)
        model.fit(frame, labels, X_val=frame[:30], y_val=labels[:30])
        assert model.feature_names_in_.tolist() == names
        plain = TwoLayerClassifier(hidden=8, epochs=5, random_state=0)
        plain.fit(X, np.asarray(labels), X_val=X[:30], y_val=np.asarray(labels)[:30])
        assert np.array_equal(model.predict(frame), plain.predict(X))
        with pytest.raises(ValueError, match="feature names"):
            model.predict(frame[["b", "a", "c", "d"]])

    def test_string_labels_come_back_as_strings(self):
        X, y = standardized(IRIS)
        labels = np.array(["setosa", "versicolor", "virginica"])[y]
        model = TwoLayerClassifier(hidden=8, random_state=0).fit(X, labels)
        assert model.classes_.tolist() == ["setosa", "versicolor", "virginica"]
        assert set(model.predict(X)) <= set(labels)
        assert model.score(X, labels) > 0.9

    @pytest.mark.parametrize(("given", "kept"), [("float32", "float32"), ("float64", "float64"), ("int64", "float64")])
    def test_the_float_type_of_the_rows_is_kept(self, given, kept):
        X, y = make_classification(random_state=0)
        X = (10 * X).astype(given)
        model = TwoLayerClassifier(hidden=4, epochs=2, random_state=0).fit(X, y)
        arrays = [*model.coefs_, *model.intercepts_, model.predict_proba(X), model.decision_function(X)]
        assert {array.dtype.name for array in arrays} == {kept}

    def test_two_classes_have_log_odds_and_more_have_scores(self):
        X, y = standardized(IRIS)
        binary = TwoLayerClassifier(hidden=4, epochs=5, random_state=0).fit(X[y < 2], y[y < 2])
        P = binary.predict_proba(X)
        assert np.allclose(binary.decision_function(X), np.log(P[:, 1] / P[:, 0]))
        model = TwoLayerClassifier(hidden=4, epochs=5, random_state=0).fit(X, y)
        S = model.decision_function(X)
        assert S.shape == (150, 3)
        assert np.allclose(model.predict_log_proba(X), S - np.log(np.exp(S).sum(axis=1, keepdims=True)))

    def test_log_probabilities_stay_finite_where_probabilities_round_to_zero(self):
        model = TwoLayerClassifier(hidden=0, epochs=1).fit(*standardized(IRIS))
        model.coefs_[0][...] = [1e4, 0, -1e4]
        X = np.ones((1, 4))
        assert model.predict_proba(X).min() == 0
        assert np.isfinite(model.predict_log_proba(X)).all()


def test_every_argument_is_described_once():
    doc = TwoLayerClassifier.__doc__
    assert all(doc.count(f"\n    {name}: ") == 1 for name in TwoLayerClassifier().get_params())


class TestWarmStart:
    @pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"])
    @pytest.mark.parametrize("validation", [0.0, 0.2])
    def test_ten_and_ten_epochs_are_twenty_bit_for_bit(self, optimizer, validation):
        X, y = standardized(IRIS)
        settings = {"hidden": 8, "optimizer": optimizer, "learning_rate": 0.01, "random_state": 3, "reg": 1e-3}
        settings |= {"batch_size": 32, "validation": validation}
        once = TwoLayerClassifier(epochs=20, **settings).fit(X, y)
        twice = TwoLayerClassifier(epochs=10, warm_start=True, **settings)
        assert twice.fit(X, y).n_iter_ == 10
        twice.fit(X, y)
        assert same_params(once, twice)
        assert once.history_.keys() == twice.history_.keys()
        assert all(np.array_equal(once.history_[k], twice.history_[k], equal_nan=True) for k in once.history_)
        assert (once.best_epoch_, once.n_iter_) == (twice.best_epoch_, twice.n_iter_)

    def test_the_best_epoch_of_an_earlier_call_is_remembered(self):
        X, y = standardized(IRIS)
        calls = []
        model = TwoLayerClassifier(hidden=4, epochs=3, warm_start=True, random_state=0)
        model.set_params(monitor=lambda model, X, y: calls.append(y) or -len(calls)).fit(X, y)  # worse each time
        best = [W.copy() for W in model.coefs_]
        model.fit(X, y)
        assert (model.best_epoch_, model.n_iter_) == (1, 6)
        assert np.array_equal(model.coefs_[0], best[0])

    def test_partial_fit_on_the_same_rows_is_fit_epoch_by_epoch(self):
        X, y = standardized(IRIS)
        once = TwoLayerClassifier(hidden=8, epochs=4, random_state=3).fit(X, y)
        parts = TwoLayerClassifier(hidden=8, random_state=3)
        for _ in range(4):
            parts.partial_fit(X, y, classes=[0, 1, 2])
        assert same_params(once, parts)

    def test_partial_fit_learns_from_pieces_of_any_length(self):
        X, y = standardized(IRIS)
        model = TwoLayerClassifier(hidden=8, learning_rate=0.01, random_state=0)
        order = np.random.default_rng(0).permutation(150)
        for _ in range(20):
            for piece in np.split(order, [10, 60]):
                model.partial_fit(X[piece], y[piece], classes=np.unique(y))
        assert model.score(X, y) > 0.9
        assert model.n_iter_ == 60
        assert model._checkpoint["updates"] == 20 * (1 + 1 + 2)  # batches of at most 64 rows of 10, 50, 90

    def test_fit_without_warm_start_begins_again(self):
        X, y = standardized(IRIS)
        model = TwoLayerClassifier(hidden=8, epochs=3, random_state=0)
        first = pickle.loads(pickle.dumps(model.fit(X, y)))
        assert same_params(first, model.fit(X, y))
        assert model.n_iter_ == 3

    def test_a_fit_with_another_network_or_optimizer_cannot_continue(self):
        X, y = standardized(IRIS)
        model = TwoLayerClassifier(hidden=8, epochs=2, warm_start=True, random_state=0).fit(X, y)
        with pytest.raises(ValueError, match=r"other shapes: expected .*\(4, 8\).*got .*\(4, 9\)"):
            model.set_params(hidden=9).fit(X, y)
        with pytest.raises(ValueError, match="other optimizer: expected adam, got sgd"):
            model.set_params(hidden=8, optimizer="sgd").fit(X, y)

    def test_with_another_monitor_the_count_starts_again(self):
        X, y = standardized(IRIS)
        model = TwoLayerClassifier(
            hidden=8, epochs=4, warm_start=True, validation=0.3, optimizer="sgd", schedule="plateau",
            plateau_patience=1, monitor="val_accuracy", learning_rate=0.05, random_state=0,
        )  # fmt: skip
        best = model.fit(X, y)._checkpoint["progress"]["best"]
        assert best["reference"] == max(model.history_["val_accuracy"])
        best = model.set_params(monitor="val_loss").fit(X, y)._checkpoint["progress"]["best"]
        assert best["reference"] == min(model.history_["val_loss"][4:])

    def test_after_early_stopping_a_continued_fit_waits_again(self):
        X, y = standardized(IRIS)
        model = TwoLayerClassifier(hidden=8, epochs=50, warm_start=True, monitor="train_loss", patience=2)
        model.set_params(optimizer="sgd", learning_rate=4.0, random_state=0).fit(X, y)  # a rate at which it jumps about
        stopped_at = model.n_iter_
        assert stopped_at < 50
        assert model.fit(X, y).n_iter_ >= stopped_at + 1

    def test_a_random_state_of_none_keeps_its_own_shuffles_when_it_continues(self):
        X, y = standardized(IRIS)
        model = TwoLayerClassifier(hidden=4, epochs=2, warm_start=True, random_state=np.random.RandomState(0))
        seeds = [model.fit(X, y)._checkpoint["seed"] for _ in range(2)]
        assert seeds[0] == seeds[1]


class TestValidationAndStopping:
    def test_own_validation_rows_give_their_loss_after_every_epoch(self):
        X, y = standardized(IRIS)
        seen = []
        model = TwoLayerClassifier(hidden=8, epochs=5, random_state=0)
        model.fit(
            X[::2],
            y[::2],
            X_val=X[1::2],
            y_val=y[1::2],
            callback=lambda model, record: seen.append(model.predict_proba(X[1::2])[np.arange(75), y[1::2]]),
        )
        assert np.allclose(model.validation_loss_curve_, [-np.log(p).mean() for p in seen])
        assert len(model.train_loss_curve_) == len(model.loss_curve_) == 5

    def test_the_kept_parameters_are_those_of_the_best_epoch(self):
        X, y = standardized(IRIS)
        model = TwoLayerClassifier(hidden=8, epochs=30, optimizer="sgd", learning_rate=3.0, monitor="val_loss")
        model.set_params(random_state=1).fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
        assert model.best_epoch_ == 1 + int(np.argmin(model.validation_loss_curve_)) < 30
        P = model.predict_proba(X[1::2])[np.arange(75), y[1::2]]
        assert np.isclose(-np.log(P).mean(), min(model.validation_loss_curve_))

    def test_without_validation_the_last_parameters_are_kept(self):
        X, y = standardized(IRIS)
        model = TwoLayerClassifier(hidden=8, epochs=3, random_state=0).fit(X, y)
        assert model.best_epoch_ == model.n_iter_ == 3
        assert model.validation_loss_curve_ is None
        P = softmax(forward(model.params_, X))[np.arange(150), y]
        assert np.isclose(-np.log(P).mean(), model.train_loss_curve_[-1])

    @pytest.mark.parametrize("monitor", ["roc_auc", lambda model, X, y: roc_auc_score(y, model.decision_function(X))])
    def test_any_scorer_may_stop_the_training(self, monitor):
        X, y = make_classification(400, flip_y=0.2, random_state=0)
        model = TwoLayerClassifier(
            hidden=32, epochs=200, learning_rate=0.01, validation=0.3, monitor=monitor, patience=5, random_state=0
        ).fit(X, y)
        scores = model.history_["score"]
        assert len(scores) < 200
        assert max(scores) == scores[model.best_epoch_ - 1]
        assert model.n_iter_ == model.best_epoch_ + 5

    @pytest.mark.parametrize("tolerance", [0.0, 0.01])
    def test_patience_ends_a_training_whose_accuracy_is_perfect(self, tolerance):
        y = np.arange(400) % 2
        X = standardized((np.random.default_rng(0).normal(size=(400, 2)) * 0.3 + 3 * y[:, None], y))[0]
        model = TwoLayerClassifier(8, validation=0.25, patience=3, epochs=200, learning_rate=0.01, random_state=0)
        model.set_params(min_delta=tolerance).fit(X, y)
        values = np.array(model.history_["val_accuracy"])
        assert model.n_iter_ == 1 + np.flatnonzero(values > values.max() - 1e-9)[0] + 3 < 30

    def test_early_stopping_of_scikit_learns_own_test(self):
        """Its problem, and what it asks: fewer epochs than allowed, and the score of the best epoch kept."""
        X, y = load_iris(return_X_y=True)
        X, y = X[y < 2], y[y < 2]
        model = TwoLayerClassifier(50, validation=0.2, patience=10, min_delta=0.2, epochs=200, random_state=0)
        model.fit(X, y)
        assert model.n_iter_ < 200
        assert model.history_["val_accuracy"][model.best_epoch_ - 1] == max(model.history_["val_accuracy"])

    @pytest.mark.parametrize("monitor", ["roc_auc", "val_auc", lambda model, X, y: np.nan])
    @pytest.mark.filterwarnings("ignore:Only one class is present")
    def test_a_monitor_without_a_number_is_an_error(self, monitor):
        X, y = make_classification(200, random_state=0)
        one_class = X[y == 0], y[y == 0]
        with pytest.raises(
            ValueError, match="monitor .*(roc_auc|val_auc|lambda).*: expected a number after the first epoch"
        ):
            TwoLayerClassifier(8, epochs=60, monitor=monitor).fit(X, y, X_val=one_class[0], y_val=one_class[1])

    def test_a_scorer_sees_the_validation_rows_at_the_epochs_parameters(self):
        pandas = pytest.importorskip("pandas")
        X, y = standardized(IRIS)
        frame = pandas.DataFrame(X, columns=list("abcd"))
        model = TwoLayerClassifier(hidden=8, epochs=4, monitor="neg_log_loss", random_state=0)
        model.fit(frame[::2], y[::2], X_val=frame[1::2], y_val=y[1::2])
        assert np.allclose(model.history_["score"], -np.array(model.validation_loss_curve_))

    def test_the_fraction_is_held_out_by_class(self):
        y = np.repeat([0, 1], [80, 20])
        X = np.random.default_rng(0).standard_normal((100, 3))
        held = []
        TwoLayerClassifier(
            hidden=2, epochs=1, validation=0.25, monitor=lambda model, X, y: held.append(y) or 0.0, random_state=0
        ).fit(X, y)
        assert np.bincount(held[0]).tolist() == [20, 5]

    def test_a_callback_may_end_the_training(self):
        X, y = standardized(IRIS)
        records = []

        def callback(model, record):
            records.append(record)
            return record["epoch"] == 3

        model = TwoLayerClassifier(hidden=4, epochs=50, random_state=0).fit(X, y, callback=callback)
        assert model.n_iter_ == len(records) == 3
        assert records[0]["train_loss"] == model.train_loss_curve_[0]

    def test_what_a_callback_sets_on_the_estimator_stays(self):
        X, y = standardized(IRIS)
        model = TwoLayerClassifier(hidden=4, epochs=3, random_state=0).fit(X, y)

        def callback(now, record):
            model.seen_ = model.note = record["epoch"]
            model.set_params(verbose=True)

        model.fit(X, y, callback=callback)
        assert (model.seen_, model.note, model.verbose, model.n_iter_) == (3, 3, True, 3)

    def test_a_second_fit_without_names_forgets_the_names_of_the_first(self):
        pandas = pytest.importorskip("pandas")
        X, y = standardized(IRIS)
        model = TwoLayerClassifier(hidden=4, epochs=1).fit(pandas.DataFrame(X, columns=list("abcd")), y)
        assert not hasattr(model.fit(X, y), "feature_names_in_")


class TestInterruption:
    @pytest.mark.parametrize("validation", [0.0, 0.3])
    def test_ctrl_c_keeps_the_parameters_so_far_with_a_warning(self, validation):
        X, y = standardized(IRIS)
        calls = []

        def interrupted(model, record):
            calls.append(record)
            if record["epoch"] == 4:
                raise KeyboardInterrupt

        settings = {"hidden": 4, "validation": validation, "random_state": 0}
        model = TwoLayerClassifier(epochs=10**6, **settings)
        with pytest.warns(UserWarning, match=r"interrupted after 4 epochs; its parameters are kept"):
            model.fit(X, y, callback=interrupted)
        assert same_params(model, TwoLayerClassifier(epochs=4, **settings).fit(X, y))
        assert model.n_iter_ == len(model.history_["train_loss"]) == 4

    def test_ctrl_c_before_the_first_epoch_ends_leaves_the_earlier_model(self):
        X, y = standardized(IRIS)

        def interrupted(model, X, y):
            raise KeyboardInterrupt

        model = TwoLayerClassifier(4, epochs=2, random_state=0).fit(X, y)
        before = model.predict_proba(X)
        with pytest.raises(KeyboardInterrupt):
            model.set_params(monitor=interrupted).fit(X, y)
        assert np.array_equal(model.predict_proba(X), before)


class TestWeights:
    def test_balanced_class_weights_count_a_row_of_weight_two_as_two_rows(self):
        X, y = standardized(IRIS)
        w = np.where(y == 0, 3, 1)
        rows = np.repeat(np.arange(150), w)
        settings = {"hidden": 6, "epochs": 30, "shuffle": False, "random_state": 0, "class_weight": "balanced"}
        weighted = TwoLayerClassifier(batch_size=150, **settings).fit(X, y, sample_weight=w)
        repeated = TwoLayerClassifier(batch_size=len(rows), **settings).fit(X[rows], y[rows])
        np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-10)

    def test_a_weight_for_a_label_that_does_not_occur_is_refused(self):
        with pytest.raises(ValueError, match=r"class_weight: expected labels of the data, \[0, 1, 2\]; got \[7\]"):
            TwoLayerClassifier(epochs=1, class_weight={0: 2.0, 7: 1.0}).fit(*IRIS)

    def test_class_weights_equal_the_same_weights_row_by_row(self):
        X, y = standardized(IRIS)
        weights = {0: 1.0, 1: 5.0, 2: 0.5}
        settings = {"hidden": 8, "epochs": 5, "random_state": 0}
        by_class = TwoLayerClassifier(class_weight=weights, **settings).fit(X, y)
        by_row = TwoLayerClassifier(**settings).fit(X, y, sample_weight=np.array([weights[label] for label in y]))
        assert same_params(by_class, by_row)

    @pytest.mark.parametrize("weight", ["sample_weight", "class_weight"])
    def test_batches_of_zero_weight_are_not_in_the_loss_curve(self, weight):
        X, y = standardized(IRIS)
        settings = {"hidden": 8, "optimizer": "sgd", "learning_rate": 1e-300, "epochs": 1, "random_state": 0}
        if weight == "class_weight":
            settings["class_weight"] = {0: 0.0}
        w = np.arange(150) % 2 if weight == "sample_weight" else None
        in_one_batch = TwoLayerClassifier(batch_size=150, **settings).fit(X, y, sample_weight=w)
        row_by_row = TwoLayerClassifier(batch_size=1, **settings).fit(X, y, sample_weight=w)
        assert np.allclose(row_by_row.loss_curve_, in_one_batch.loss_curve_, rtol=1e-12)

    def test_an_epoch_of_zero_weight_has_no_loss(self):
        X, y = standardized(IRIS)
        model = TwoLayerClassifier(hidden=8, class_weight={0: 0.0}, random_state=0)
        model.partial_fit(X, y, classes=[0, 1, 2])
        with pytest.warns(UserWarning, match="no row has a weight above 0"):
            model.partial_fit(X[y == 0], y[y == 0])
        assert np.isnan(model.loss_curve_).tolist() == [False, True]

    def test_balanced_classes_raise_the_recall_of_the_rare_one(self):
        X, y = make_classification(1000, weights=[0.95], class_sep=0.5, flip_y=0.05, random_state=0)
        recalls = []
        for class_weight in (None, "balanced"):
            model = TwoLayerClassifier(hidden=8, epochs=20, class_weight=class_weight, random_state=0).fit(X, y)
            recalls.append((model.predict(X)[y == 1] == 1).mean())
        assert recalls[1] > recalls[0] + 0.3


class TestErrors:
    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"hidden": -1}, "hidden"),
            ({"hidden": 2.5}, "hidden"),
            ({"epochs": 0}, "epochs"),
            ({"batch_size": 0}, "batch_size"),
            ({"optimizer": "lbfgs"}, "optimizer: expected one of sgd"),
            ({"init": "orthogonal"}, "init: expected one of he, xavier, normal, got 'orthogonal'"),
            ({"learning_rate": -1.0}, "learning_rate: expected a number greater than 0"),
            ({"monitor": "val_loss"}, "needs validation rows; set validation=0.15, or give fit X_val"),
            ({"monitor": "acuracy"}, "monitor: expected a column of the history"),
            ({"validation": 1.5}, "validation: expected a number of at least 0 and below 1"),
            ({"validation": 0.01}, "validation=0.01 of 150 rows cannot be held out"),
            ({"class_weight": {7: 1.0}, "validation": 0.0}, "class"),
            ({"random_state": -1}, "random_state"),
        ],
    )
    def test_a_parameter_that_cannot_be_is_named(self, parameters, message):
        with pytest.raises((ValueError, TypeError), match=message):
            TwoLayerClassifier(**{"epochs": 1, "random_state": 0} | parameters).fit(*IRIS)

    def test_validation_rows_that_look_unscaled_are_warned_about(self):
        X, y = IRIS
        model = make_pipeline(StandardScaler(), TwoLayerClassifier(8, epochs=2, random_state=0))
        rows = {"twolayerclassifier__X_val": 10 * X[1::2] + 50, "twolayerclassifier__y_val": y[1::2]}
        with pytest.warns(UserWarning, match="X_val looks unscaled beside X.*transform_input"):
            model.fit(10 * X[::2] + 50, y[::2], **rows)

    def test_validation_rows_spread_far_more_or_less_are_warned_about(self):
        X, y = standardized(IRIS)
        for factor in (20, 0.05):
            with pytest.warns(UserWarning, match="X_val looks unscaled beside X"):
                TwoLayerClassifier(2, epochs=1).fit(X, y, X_val=factor * X, y_val=y)

    def test_a_pipeline_transforms_the_validation_rows_named_in_transform_input(self):
        X, y = IRIS
        with config_context(enable_metadata_routing=True):
            model = TwoLayerClassifier(8, epochs=5, random_state=0).set_fit_request(X_val=True, y_val=True)
            pipeline = make_pipeline(StandardScaler(), model, transform_input=["X_val"])
            pipeline.fit(10 * X[::2] + 50, y[::2], X_val=10 * X[1::2] + 50, y_val=y[1::2])
        assert pipeline[-1].history_["val_accuracy"][pipeline[-1].best_epoch_ - 1] == pipeline.score(
            10 * X[1::2] + 50, y[1::2]
        )

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"X_val": IRIS[0]}, "X_val and y_val go together"),
            ({"X_val": IRIS[0], "y_val": IRIS[1] + 1}, r"y_val has labels \[3\] that are not among the classes"),
            ({"X_val": IRIS[0][:, :3], "y_val": IRIS[1]}, "3 features"),
            ({"sample_weight": -np.ones(150)}, "sample_weight: expected finite numbers, zero or more"),
        ],
    )
    def test_an_argument_that_cannot_be_is_named(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            TwoLayerClassifier(epochs=1).fit(*IRIS, **arguments)

    def test_both_kinds_of_validation_are_refused(self):
        with pytest.raises(ValueError, match="not both"):
            TwoLayerClassifier(validation=0.2, epochs=1).fit(*IRIS, X_val=IRIS[0], y_val=IRIS[1])

    @pytest.mark.parametrize(
        "parameters", [{"validation": 0.1}, {"patience": 3}, {"class_weight": "balanced"}, {"schedule": "cosine"}]
    )
    def test_partial_fit_is_hidden_where_all_rows_or_the_end_are_needed(self, parameters):
        model = TwoLayerClassifier(**parameters)
        assert not hasattr(model, "partial_fit")
        with pytest.raises(AttributeError, match="no attribute 'partial_fit'") as caught:
            model.partial_fit(*IRIS, classes=[0, 1, 2])
        assert "partial_fit cannot be used with validation" in str(caught.value.__cause__)
        assert hasattr(TwoLayerClassifier(), "partial_fit")

    @pytest.mark.parametrize(
        ("parameters", "words"),
        [
            ({"hidden": True}, "hidden: expected a whole number.*, got True"),
            ({"patience": 2.5}, "patience: expected a whole number.*, got 2.5"),
            ({"shuffle": "yes"}, "shuffle: expected True or False, got 'yes'"),
            ({"epochs": 1.5}, "epochs: expected a whole number.*, got 1.5"),
            ({"reg": "1e-3"}, "reg: expected a number.*, got '1e-3'"),
            ({"batch_size": 32.0}, "batch_size: expected a whole number.*, got 32.0"),
            ({"validation": "0.2"}, "validation: expected a number.*, got '0.2'"),
            ({"warm_start": 1}, "warm_start: expected True or False, got 1"),
        ],
    )
    def test_a_parameter_of_another_type_is_refused_in_words(self, parameters, words):
        with pytest.raises(TypeError, match=words):
            TwoLayerClassifier(**{"epochs": 1} | parameters).fit(*IRIS)

    def test_numpys_numbers_are_numbers(self):
        model = TwoLayerClassifier(np.int64(4), reg=np.float64(0), shuffle=np.bool_(True), epochs=np.int32(1))
        assert model.fit(*IRIS).n_iter_ == 1

    def test_a_diverging_training_says_so_and_what_is_kept(self):
        X, y = IRIS
        model = TwoLayerClassifier(hidden=0, optimizer="sgd", learning_rate=1e30, random_state=0)
        with pytest.raises(DivergedError, match=r"Try a StandardScaler .*estimator is what it was before this call"):
            model.fit(np.float32(1e9 * X), y)
        assert not hasattr(model, "coefs_")

    @pytest.mark.parametrize(
        "fails",
        [
            lambda model: model.set_params(epochs=0).fit(IRIS[0], np.where(IRIS[1] > 0, "other", "setosa")),
            lambda model: model.fit(IRIS[0] * np.nan, IRIS[1]),
            lambda model: model.set_params(optimizer="sgd", learning_rate=1e6, init="xavier").fit(
                1e200 * IRIS[0], IRIS[1]
            ),
            lambda model: model.fit(*IRIS, callback=lambda model, record: 1 / 0),
            lambda model: model.set_params(monitor=lambda model, X, y: np.nan).fit(*IRIS),
            lambda model: model.set_params(hidden=8).partial_fit(*IRIS),
        ],
        ids=["epochs", "rows", "divergence", "callback", "scorer", "partial_fit"],
    )
    def test_a_call_that_fails_leaves_the_earlier_model_as_it_was(self, fails):
        model = TwoLayerClassifier(4, epochs=2, random_state=0).fit(*IRIS)
        before = pickle.dumps({name: value for name, value in vars(model).items() if name.endswith("_")})
        with pytest.raises((ValueError, DivergedError, ZeroDivisionError)):
            fails(model)
        assert pickle.dumps({name: value for name, value in vars(model).items() if name.endswith("_")}) == before
        assert model.set_params(epochs=1, monitor=None).predict(IRIS[0]).shape == (150,)

    def test_warm_start_refuses_other_labels_and_fewer(self):
        X, y = standardized(IRIS)
        model = TwoLayerClassifier(4, epochs=1, warm_start=True).fit(X, y)
        for labels in (y[y < 2], y[y < 2] + 5):
            with pytest.raises(ValueError, match=r"expected the labels of the last fit.*\[0, 1, 2\]; got"):
                model.fit(X[y < 2], labels)
        assert model.fit(X, y).n_iter_ == 2

    def test_a_finite_row_that_float32_cannot_hold_is_an_error(self):
        X, y = standardized(IRIS)
        model = TwoLayerClassifier(4, epochs=1).fit(X.astype(np.float32), y)
        row = np.array([[0, 1e39, 0, 0]])
        for call in (model.predict, model.predict_proba, model.decision_function):
            with pytest.raises(ValueError, match=r"X: expected finite float32 numbers, got 1e\+39 in row 0, column 1"):
                call(row)
        with pytest.raises(ValueError, match="expected finite float32 numbers, got 1e\\+39 in row 1"):
            model.partial_fit(np.r_[X[:1], row], y[:2])
        model = TwoLayerClassifier(0, epochs=1).fit(X, y)
        model.coefs_[0][...] = 2
        with pytest.raises(ValueError, match="scores of row 0 overflow float64"):
            model.predict(np.full((1, 4), 1e308))

    def test_start_parameters_of_another_shape_are_refused(self):
        params = init_params(3, 8, 3, rng=np.random.default_rng(0))
        with pytest.raises(ValueError, match="3 features"):
            TwoLayerClassifier(epochs=1).fit(*IRIS, initial_params=params)


def test_labels_of_pandas_nullable_types_are_not_rounded():
    pandas = pytest.importorskip("pandas")
    X = np.random.default_rng(0).standard_normal((60, 3))
    for labels, dtype in [([2**53, 2**53 + 1], "Int64"), ([False, True], "boolean")]:
        y = pandas.Series(labels * 30, dtype=dtype)
        model = TwoLayerClassifier(hidden=4, epochs=1, random_state=0).fit(X, y, X_val=X, y_val=y)
        assert model.classes_.tolist() == labels
        assert set(model.predict(X).tolist()) <= set(labels)
        assert type(model.predict(X).tolist()[0]) is type(labels[0])


def test_rows_and_labels_that_would_lose_something_are_refused_in_words():
    pandas = pytest.importorskip("pandas")
    X = np.random.default_rng(0).standard_normal((60, 3))
    y = np.arange(60) % 2
    model = TwoLayerClassifier(hidden=4, epochs=1, random_state=0)
    for rows, labels, options, words in [
        (np.ma.masked_array(X, mask=X > 1), y, {}, "X: expected an array, got a masked array"),
        (X, np.ma.masked_array(y, mask=y > 0), {}, "y: expected an array, got a masked array"),
        (X, y, {"sample_weight": np.ma.masked_array(y + 1, mask=y > 0)}, "sample_weight: .* got a masked array"),
        (X, y, {"X_val": X, "y_val": np.ma.masked_array(y, mask=y > 0)}, "y_val: .* got a masked array"),
        (
            X,
            pandas.Series(["a", pandas.NA] * 30, dtype="string"),
            {},
            "y: expected a label in every row, got 30 missing",
        ),
        (X, np.array(["a", 1] * 30, object), {}, "y: expected labels of one kind, got int, str"),
        (X, np.array(["a", None] * 30, object), {}, "y: expected labels of one kind, got NoneType, str"),
        (X, y, {"initial_params": [1, 2]}, r"params: expected Params\(W1, b1, W2, b2\), got list"),
    ]:
        with pytest.raises(ValueError, match=words):
            model.fit(rows, labels, **options)
    model.fit(X, y, initial_params=tuple(init_params(3, 4, 2, rng=np.random.default_rng(0))))
    with pytest.raises(ValueError, match="X: expected an array, got a masked array"):
        model.predict(np.ma.masked_array(X, mask=X > 1))
