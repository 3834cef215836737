"""scikit-learn's home: the classifier over the same solver, and the way from and to its MLPClassifier (extra
`sklearn`)."""

from __future__ import annotations

from twolayer.utils.errors import import_extra

import_extra("sklearn", "sklearn", "TwoLayerClassifier")

from twolayer.estimator.classifier import TwoLayerClassifier  # noqa: E402
from twolayer.estimator.mlp import params_from_mlp, params_to_mlp  # noqa: E402

__all__ = ["TwoLayerClassifier", "params_from_mlp", "params_to_mlp"]
