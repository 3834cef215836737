"""Trained models in other formats. ONNX: one graph from raw rows to label and probabilities, with scaling, one-hot
features and the imputation of missing values inside it. safetensors: the parameters, and the rest in the metadata."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from twolayer.data.columns import TableForm
from twolayer.network.model import Array
from twolayer.runs.checkpoint import Model
from twolayer.utils.errors import import_extra
from twolayer.utils.files import write_atomically
from twolayer.utils.version import __version__

OPSET, ML_OPSET, IR_VERSION = 18, 3, 9  # onnxruntime reads these since 1.15, of May 2023
LABEL, PROBABILITIES = "label", "probabilities"


def export_onnx(model: Model, path: str | Path) -> None:
    """Write a model as ONNX, with these inputs and outputs.

    Images and other arrays: one input `rows` (N, D), float32 for images, else float64. A table of numbers: the same,
    float64, the feature columns in the file's order. A table with categories: an input (N, 1) for each feature column,
    under its name, float64 for numbers (NaN: missing) and text for categories, without spaces around it; if an output
    or another input has that name, with an underscore after it. Outputs: `label` (N,), whole numbers or text,
    and `probabilities` (N, C), their columns as the metadata's `classes` (JSON).

    A category that was not seen in training counts as none of the known ones, or is an error when the graph runs, by
    the model's `data.unseen`. Numbers are not checked: NaN gives NaN unless missing values are imputed.
    An existing file is replaced as a whole. Without onnx a MissingExtraError is raised, and a RunError if the file
    cannot be written.
    """
    graph = _Graph(import_extra("onnx", "onnx", "export --to onnx"))
    preparation = model.preparation
    if preparation.form is not None and preparation.form.categories:
        rows = _table_rows(graph, preparation.form, fill=preparation.fill is not None)
    else:
        pixels = preparation.image_shape is not None
        rows = graph.input("rows", np.float32 if pixels else np.float64, preparation.n_features)
    A1, params = _prepared(graph, rows, model), model.params
    if params.W1 is not None and params.b1 is not None:
        Z1 = graph.node("Add", graph.node("MatMul", A1, graph.constant(params.W1)), graph.constant(params.b1))  # (1)
        A1 = graph.node("Relu", Z1)  # (2)
    scores = graph.node("Add", graph.node("MatMul", A1, graph.constant(params.W2)), graph.constant(params.b2))  # (3)
    labels = [str(c) for c in model.classes] if isinstance(model.classes[0], str) else np.array(model.classes, np.int64)
    best = graph.node("ArgMax", scores, axis=1, keepdims=0)
    graph.output(graph.node("Gather", graph.constant(labels), best), LABEL, labels)
    graph.output(graph.node("Softmax", scores, axis=1), PROBABILITIES, params.W2, params.n_classes)
    write_atomically(path, graph.serialized(classes=json.dumps(list(model.classes))))


def export_safetensors(model: Model, path: str | Path) -> None:
    """Write a model as safetensors, under the names and in the layout of torch.nn.Sequential(Linear, ReLU, Linear):
    `0.weight` (H, D), `0.bias`, `2.weight` (C, H) and `2.bias`; without a hidden layer `0.weight` (C, D) and
    `0.bias`, for a Sequential(Linear).

    The metadata's `preparation` is JSON: what `Preparation.to_header` gives (classes, columns, categories), and the D
    numbers each of `center`, `scale` and, if missing values are imputed, `fill`: x -> (x - center) / scale.

    An existing file is replaced as a whole. Without safetensors a MissingExtraError is raised, and a RunError if the
    file cannot be written.
    """
    safetensors = import_extra("safetensors.numpy", "safetensors", "export --to safetensors")
    params, preparation = model.params, model.preparation
    hidden, output = ("0", "2") if params.n_hidden else ("", "0")
    names = {"W1": f"{hidden}.weight", "b1": f"{hidden}.bias", "W2": f"{output}.weight", "b2": f"{output}.bias"}
    tensors = {names[name]: np.ascontiguousarray(array.T) for name, array in params.named().items()}
    arrays = {name.removeprefix("data/"): array.tolist() for name, array in preparation.to_arrays().items()}
    stored = {"twolayer": __version__, **preparation.to_header(), **arrays}
    metadata = {"preparation": json.dumps(stored, allow_nan=False)}  # one entry: the order of several is not fixed
    write_atomically(path, safetensors.save(tensors, metadata))


def _table_rows(graph: _Graph, form: TableForm, *, fill: bool) -> str:
    """Return the features (N, D) in float64 from one input per column; NaN where a value is missing."""
    parts = []
    for position in form.features:
        name = form.name(position)
        if position not in form.categories:
            parts.append(graph.input(name, np.float64, 1))
            continue
        known = list(form.categories[position])
        missing = sorted(form.reading.missing - set(known)) if fill else []
        cells = graph.input(name, np.str_, 1)
        hot = graph.node(
            "OneHotEncoder", cells, domain="ai.onnx.ml", cats_strings=known + missing, zeros=form.unseen == "none"
        )
        hot = graph.node("Reshape", hot, graph.constant(np.array([-1, len(known) + len(missing)])))
        hot = graph.to_type(hot, np.float64)
        if missing:
            columns = graph.constant(np.arange(len(known))), graph.constant(len(known) + np.arange(len(missing)))
            hot, is_missing = (graph.node("Gather", hot, each, axis=1) for each in columns)
            any_of_them = graph.node("ReduceMax", is_missing, graph.constant(np.array([1])), keepdims=1)
            hot = graph.node("Where", graph.to_type(any_of_them, np.bool_), graph.constant(np.array([[np.nan]])), hot)
        parts.append(hot)
    return graph.node("Concat", *parts, axis=1)


def _prepared(graph: _Graph, rows: str, model: Model) -> str:
    """Impute and scale, in the steps and float types of `Preparation`: float64 rows are scaled in float64."""
    preparation = model.preparation
    scaling, fill, dtype = preparation.scaling, preparation.fill, np.dtype(np.float64)
    if fill is not None:
        rows = graph.node("Where", graph.node("IsNaN", rows), graph.constant(fill), rows)
    if preparation.image_shape is not None:
        dtype = preparation.dtype
        rows = graph.to_type(rows, dtype)
    if not scaling.identity:
        rows = graph.node("Sub", rows, graph.constant(scaling.center.astype(dtype)))
        rows = graph.node("Mul", rows, graph.constant((1 / scaling.scale).astype(dtype)))
    return graph.to_type(rows, preparation.dtype)


class _Graph:
    """Collects inputs, constants and nodes, and numbers what has no name."""

    def __init__(self, onnx: ModuleType) -> None:
        self._onnx = onnx
        self._graph = onnx.GraphProto(name="twolayer")
        self._taken = {LABEL, PROBABILITIES}

    def input(self, name: str, dtype: Any, width: int) -> str:
        """Add an input (N, width); names in a graph are unique, so one that is taken gets an underscore."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        self._graph.input.append(self._onnx.helper.make_tensor_value_info(name, self._code(dtype), ["N", width]))
        return name

    def constant(self, values: Array | list[str]) -> str:
        """Add numbers or texts that belong to the model."""
        name = f"/constant{len(self._graph.initializer)}"
        if isinstance(values, list):
            text = [value.encode() for value in values]
            tensor = self._onnx.helper.make_tensor(name, self._onnx.TensorProto.STRING, [len(values)], text)
        else:
            tensor = self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name)
        self._graph.initializer.append(tensor)
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; return its output."""
        output = f"/{kind}{len(self._graph.node)}"
        self._graph.node.append(self._onnx.helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def to_type(self, value: str, dtype: Any) -> str:
        return self.node("Cast", value, to=self._code(dtype))

    def output(self, value: str, name: str, like: Array | list[str], width: int | None = None) -> None:
        """Make a value an output under this name, (N,) or (N, width), of the type of `like`."""
        dtype = np.str_ if isinstance(like, list) else like.dtype
        shape = ["N"] if width is None else ["N", width]
        self._graph.node.append(self._onnx.helper.make_node("Identity", [value], [name]))
        self._graph.output.append(self._onnx.helper.make_tensor_value_info(name, self._code(dtype), shape))

    def serialized(self, **metadata: str) -> bytes:
        helper = self._onnx.helper
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        made_by = {"producer_name": "twolayer", "producer_version": __version__}
        model = helper.make_model(self._graph, opset_imports=opsets, ir_version=IR_VERSION, **made_by)
        helper.set_model_props(model, metadata)
        self._onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString()
        return content

    def _code(self, dtype: Any) -> int:
        if np.dtype(dtype).kind == "U":
            return int(self._onnx.TensorProto.STRING)
        return int(self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
