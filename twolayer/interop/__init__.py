"""scikit-learn's home: the classifier over the same solver, and the way from and to its MLPClassifier (extra
`sklearn`).

A trained model as files that other tools read: ONNX and safetensors."""

from __future__ import annotations

from twolayer.interop.bridges import params_from_mlp, params_to_mlp
from twolayer.interop.classifier import TwoLayerClassifier
from twolayer.interop.onnx import export_onnx
from twolayer.interop.safetensors import export_safetensors
from twolayer.utils.errors import import_extra

import_extra("sklearn", "sklearn", "TwoLayerClassifier")


__all__ = ["TwoLayerClassifier", "params_from_mlp", "params_to_mlp"]


__all__ = ["export_onnx", "export_safetensors"]
