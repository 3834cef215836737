"""A trained model as files that other tools read: ONNX and safetensors."""

from twolayer.export.onnx_graph import export_onnx
from twolayer.export.tensors import export_safetensors

__all__ = ["export_onnx", "export_safetensors"]
