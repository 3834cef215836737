"""Everything a fitted estimator says about rows, from its parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data  # type: ignore[import-untyped]

from twolayer.estimator.fit_rows import FLOATS
from twolayer.network.model import Array, Params, forward, predict, predict_proba


class PredictsFromParams:
    """The predictions of an estimator that has `classes_`, `coefs_` and `intercepts_`."""

    classes_: Array
    coefs_: list[Array]
    intercepts_: list[Array]

    def predict(self, X: Any) -> Array:
        """The label (N,) with the highest score for each row; the first of equals."""
        indices = predict(*self._params_and_rows(X))
        return self.classes_[indices]

    def predict_proba(self, X: Any) -> Array:
        """Class probabilities (N, C), equation (4)."""
        return predict_proba(*self._params_and_rows(X))

    def predict_log_proba(self, X: Any) -> Array:
        """Their logarithms (N, C), finite where a probability rounds to 0."""
        S = forward(*self._params_and_rows(X))
        S -= S.max(axis=1, keepdims=True)
        S -= np.log(np.exp(S).sum(axis=1, keepdims=True))
        return S

    def decision_function(self, X: Any) -> Array:
        """The scores S (N, C) of equation (3); for two classes their difference (N,), the log-odds of the second."""
        S = forward(*self._params_and_rows(X))
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

    def _params_and_rows(self, X: Any) -> tuple[Params, Array]:
        check_is_fitted(self, "coefs_")
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        return self.params_, X.astype(self.coefs_[-1].dtype, copy=False)
