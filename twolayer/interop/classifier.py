"""TwoLayerClassifier: scikit-learn's contract over the same solver that trains from a config; no second trainer."""

# ruff: noqa: E402  the check of the extra comes before the imports that need it

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from twolayer.utils.errors import import_extra

import_extra("sklearn", "sklearn", "TwoLayerClassifier")

from sklearn.base import BaseEstimator, ClassifierMixin  # type: ignore[import-untyped]
from sklearn.utils.metaestimators import available_if  # type: ignore[import-untyped]
from sklearn.utils.multiclass import _check_partial_fit_first_call  # type: ignore[import-untyped]
from sklearn.utils.validation import check_is_fitted, validate_data  # type: ignore[import-untyped]

from twolayer.interop import fit
from twolayer.interop.fit import FLOATS, Callback, FitRows, Scorer, encode, rows_and_labels
from twolayer.network.checks import finite_rows, refuse_masked, require_weights
from twolayer.network.model import Array, Init, Params, forward, softmax
from twolayer.network.schedules import SCHEDULES
from twolayer.network.settings import EngineName, described, settings_in_order

_BLOCK_ROWS = 4096  # predicted at a time


def _fits_in_parts(estimator: TwoLayerClassifier) -> bool:
    """Return True; raise AttributeError if a parameter needs all rows, or the number of epochs, at once."""
    needs_all = estimator.validation or estimator.patience is not None or estimator.class_weight == "balanced"
    if needs_all or (estimator.schedule in SCHEDULES and SCHEDULES[estimator.schedule].has_horizon):
        raise AttributeError(
            "partial_fit cannot be used with validation, patience, class_weight='balanced' or schedule='cosine'"
        )
    return True


class TwoLayerClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A network with one hidden layer of ReLU units and a softmax, trained by minibatch gradient descent.

    Rows are taken as they are: put a StandardScaler before it in a Pipeline, and give the Pipeline
    `transform_input=["X_val"]` if `fit` gets `X_val`. Float32 rows train and predict in float32, all others in float64.
    A call of `fit` that fails leaves the estimator as it was; one that Ctrl-C ends keeps the parameters so far. The
    parameters have the names and meanings of the config's sections `model` and `solver`; those that the chosen
    optimizer or schedule does not use have no effect.

    Args:
        hidden: H, hidden units; 0 gives softmax regression.
        init: `he`, `xavier` or `normal`; see `model.init_params`.
        init_std: standard deviation of the weights, for `normal`.
        optimizer: `sgd`, `momentum`, `nesterov`, `rmsprop`, `adam` or `adamw`. The default is MLPClassifier's, adam; in
            a config it is momentum, in Solver sgd.
        learning_rate: a of the updates; None takes 0.001 for rmsprop, adam and adamw, else 0.1.
        factor: of step, exponential and plateau; None takes 0.1, 0.95 and 0.5.
        reg: r, the L2 strength of equation (6). MLPClassifier divides its alpha by the rows of the batch: r = alpha /
            rows.
        epochs: passes over the rows in a call of fit; 100, as adam's small steps need more than a config's 40 with
            momentum.
        class_weight: None, `balanced` (sample weights are counted), or weights by label, 1 for those left out.
        validation: fraction of the rows that fit holds out, every class in proportion; 0 for none.
        monitor: what picks the best epoch: a column of `history_`, a scikit-learn scorer or its name; None takes
            val_accuracy if there are validation rows, and otherwise keeps the last epoch's parameters. A scorer looks
            at the validation rows, or at the training rows if there are none.
        warm_start: fit continues where the last call stopped, with the optimiser's state, for `epochs` more, on rows
            with the same labels. At a constant rate and with an integer `random_state` 10 + 10 epochs are 20, bit for
            bit.
        random_state: an integer, a RandomState or None.
        verbose: show a bar.

    Attributes:
        classes_: (C,) labels, sorted.
        n_features_in_: D.
        feature_names_in_: (D,) column names, if X had any.
        coefs_: [W1 (D, H), W2 (H, C)], those of the best epoch; [W2 (D, C)] without a hidden layer.
        intercepts_: [b1 (H,), b2 (C,)].
        n_iter_: epochs so far, those of all calls.
        best_epoch_: the epoch whose parameters were kept.
        loss_curve_: for each epoch the mean of the batches' objectives (6) before their updates, as MLPClassifier's;
            batches of zero weight have none.
        train_loss_curve_: mean cross-entropy of the training rows after each epoch, which compares with the next.
        validation_loss_curve_: that of the validation rows; None without any.
        history_: all columns of the records by name, a list with one value per epoch each, NaN for none.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> TwoLayerClassifier(hidden=16, random_state=0).fit(X, y).score(X, y) > 0.95
        True
    """

    def __init__(
        self,
        hidden: int = 64,
        *,
        init: Init = "he",
        init_std: float = 0.01,
        engine: EngineName = "numpy",
        optimizer: str = "adam",
        learning_rate: float | None = None,
        momentum: float = 0.9,
        rho: float = 0.99,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        schedule: str = "constant",
        warmup_epochs: float = 0.0,
        min_learning_rate: float = 0.0,
        factor: float | None = None,
        step_epochs: float = 10.0,
        plateau_patience: int = 5,
        reg: float = 0.0,
        batch_size: int = 64,
        epochs: int = 100,
        shuffle: bool = True,
        class_weight: str | Mapping[Any, float] | None = None,
        validation: float = 0.0,
        monitor: str | Scorer | None = None,
        patience: int | None = None,
        min_delta: float = 0.0,
        max_grad_norm: float | None = None,
        evaluate_rows: int | None = 10_000,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        initial_params: Params | None = None,
        callback: Callback | None = None,
    ) -> TwoLayerClassifier:
        """Train on rows and labels; with `warm_start`, continue from where the last call stopped.

        Args:
            X: (N, D) rows: an array, or a pandas or polars frame.
            y: (N,) labels: numbers or strings.
            sample_weight: (N,) weights w >= 0; the objective of a batch is sum w L / sum w. Curves and accuracies stay
                unweighted.
            X_val: your own validation rows, in place of the fraction `validation`. In a Pipeline only those named in
                its `transform_input` pass through the steps before; X_val that looks unscaled beside X is warned about.
            y_val: their labels.
            initial_params: where to start, in place of random parameters.
            callback: called after each epoch as callback(model, record): the model as it is then, ready to predict, and
                the epoch's figures. Training ends if it returns True.

        Raises:
            ValueError: for parameters, rows or labels that cannot be used.
            DivergedError: if a step gave a loss or gradient that is not finite.
        """
        resumed = self.warm_start and hasattr(self, "_checkpoint")
        with fit.trial(self, keep=resumed) as model:
            X, y = rows_and_labels(model, X, y, reset=not resumed)
            classes = np.unique(y)
            if not resumed:
                model.classes_ = classes
            elif not np.array_equal(classes, model.classes_):
                raise ValueError(
                    "y: expected the labels of the last fit, as warm_start continues it, "
                    f"{model.classes_.tolist()}; got {classes.tolist()}"
                )
            if len(classes) < 2:
                raise ValueError(f"y: expected two or more classes, got one class, {classes.tolist()}")
            if resumed and initial_params is not None:
                raise ValueError("initial_params: cannot be given when warm_start continues the last fit")
            weights = None if sample_weight is None else require_weights("sample_weight", sample_weight, len(X))
            rows = FitRows(X, encode(y, classes), weights, fit.validation_rows(model, X, X_val, y_val))
            seed = fit.seed_of(self)
            if self.validation:
                if rows.validation is not None:
                    raise ValueError("give either the parameter validation or X_val and y_val, not both")
                rows = fit.split_off(rows, self.validation, seed)
            fit.train(model, rows, self.epochs, seed, initial_params, callback)
        return self

    @available_if(_fits_in_parts)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> TwoLayerClassifier:
        """Train one more epoch, on these rows alone; the newest parameters are kept.

        It does not exist with parameters that need all rows, or the number of epochs, at once. Arguments and errors are
        those of `fit`; `classes`, all labels there will be, is needed in the first call.
        """
        first = not hasattr(self, "_checkpoint")
        with fit.trial(self, keep=not first) as model:
            X, y = rows_and_labels(model, X, y, reset=first)
            _check_partial_fit_first_call(model, classes)
            weights = None if sample_weight is None else require_weights("sample_weight", sample_weight, len(X))
            fit.train(model, FitRows(X, encode(y, model.classes_), weights), 1, fit.seed_of(self))
        return self

    def predict(self, X: Any) -> Array:
        """Return the label (N,) with the highest score for each row; the first of equals."""
        best = self._scores(X).argmax(axis=1)  # first: without a fit it says so
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: Any) -> Array:
        """Return class probabilities (N, C), equation (4)."""
        S = self._scores(X)
        return softmax(S, out=S)

    def predict_log_proba(self, X: Any) -> Array:
        """Return their logarithms (N, C), finite where a probability rounds to 0."""
        S = self._scores(X)
        S -= S.max(axis=1, keepdims=True)
        S -= np.log(np.exp(S).sum(axis=1, keepdims=True))
        return S

    def decision_function(self, X: Any) -> Array:
        """Return the scores S (N, C) of equation (3); for two classes their difference (N,), the log-odds of the
        second."""
        S = self._scores(X)
        return S[:, 1] - S[:, 0] if len(self.classes_) == 2 else S

    @property
    def params_(self) -> Params:
        """`coefs_` and `intercepts_` as Params."""
        W1, b1 = (self.coefs_[0], self.intercepts_[0]) if len(self.coefs_) == 2 else (None, None)
        return Params(W1, b1, self.coefs_[-1], self.intercepts_[-1])

    @params_.setter
    def params_(self, params: Params) -> None:
        self.coefs_ = [W for W in (params.W1, params.W2) if W is not None]
        self.intercepts_ = [b for b in (params.b1, params.b2) if b is not None]

    def _scores(self, X: Any) -> Array:
        """Return S (N, C); raise ValueError for a row that overflows."""
        check_is_fitted(self, "coefs_")
        params = self.params_
        refuse_masked("X", X)
        X = finite_rows(validate_data(self, X, dtype=FLOATS, reset=False), params.dtype, "X")
        S = np.empty((len(X), params.n_classes), params.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(X), _BLOCK_ROWS):
                rows = slice(start, start + _BLOCK_ROWS)
                forward(params, X[rows], out=S[rows])
        if not np.isfinite(S).all():
            row = int(np.argmin(np.isfinite(S).all(axis=1)))
            raise ValueError(f"X: the scores of row {row} overflow {params.dtype}; its numbers are far too large")
        return S


# The solver's settings that the docstring does not describe in words of its own are described where they are defined.
_DOC = inspect.cleandoc(TwoLayerClassifier.__doc__ or "")
_PARAMETERS = inspect.signature(TwoLayerClassifier).parameters
_SHARED = [each for each in settings_in_order() if each.name in _PARAMETERS and f"\n    {each.name}: " not in _DOC]
TwoLayerClassifier.__doc__ = _DOC.replace("\n\nAttributes:", f"\n{described(_SHARED)}\n\nAttributes:")
