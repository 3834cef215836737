"""The config as frozen pydantic models: every key with its type, its range, its default and its meaning. The error
report, the JSON Schema, the README's table and the dumped comments are all made from this."""

from __future__ import annotations

from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Discriminator, Field, PrivateAttr, Tag, create_model
from pydantic.fields import FieldInfo

from twolayer.network.settings import DEPENDENT_DEFAULTS, MONITORS, OWNERS, SolverSettings, settings_in_order

NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Column = (
    Annotated[str, Field(min_length=1, json_schema_extra={"format": "column"})]
    | Annotated[int, Field(ge=-1_000_000_000, le=1_000_000_000, json_schema_extra={"format": "position"})]
)
FilePath = Annotated[str, Field(min_length=1, json_schema_extra={"format": "path"})]
FolderPath = Annotated[str, Field(min_length=1, json_schema_extra={"format": "folder"})]


def _untitle(schema: dict[str, Any]) -> None:
    """Take out the titles that pydantic makes from the names of keys and classes."""
    for part in (schema, *schema["properties"].values()):
        part.pop("title", None)


class Section(BaseModel):
    """A strict, frozen mapping of known keys."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False, json_schema_extra=_untitle)


def key(default: Any, meaning: str, **more: Any) -> Any:
    """Return the field of a key; a default of `...` makes it required."""
    return Field(default, description=meaning, **more)


class FilePair(Section):
    """Features and labels in a file each (IDX or npy)."""

    features: FilePath = key(..., "IDX or npy file of the features, one row or image per label")
    labels: FilePath = key(..., "IDX or npy file of the labels")


class Spiral(Section):
    """Made rows: interleaved arms in the plane, one class each."""

    generator: Literal["spiral"] = key(..., "two features: points along spiral arms")
    classes: Annotated[int, Field(ge=2, le=1000)] = key(3, "arms, one class each")
    rows_per_class: Annotated[int, Field(ge=1, le=1_000_000)] = key(100, "points on an arm")
    noise: NotNegative = key(0.2, "standard deviation of a point's angle, in radians")


class Toy(Section):
    """Made rows: the few of the source texts' example."""

    generator: Literal["toy"] = key(..., "a handful of normal rows with labels in turn")
    rows: Annotated[int, Field(ge=2, le=1_000_000)] = key(5, "rows")
    features: Annotated[int, Field(ge=1, le=100_000)] = key(4, "numbers in a row")
    classes: Annotated[int, Field(ge=2, le=1000)] = key(3, "number of classes")


class Fold(Section):
    """Validation rows for cross-validation: one of several equal, stratified parts of the rows."""

    fold: Annotated[int, Field(ge=1, le=100)] = key(..., "number of the part that is held out, from 1")
    folds: Annotated[int, Field(ge=2, le=100)] = key(..., "number of parts")


def _kind_of_source(value: Any) -> str:
    """Return which form of a source is meant: only that form's problems are then reported."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, dict):
        if "generator" in value:
            return "toy" if value["generator"] == "toy" else "spiral"
        return "fold" if "fold" in value or "folds" in value else "pair"
    if isinstance(value, (list, tuple)):
        return "files"
    return "path" if isinstance(value, str) else "fraction"


_Path = Annotated[FilePath, Tag("path")]
_Files = Annotated[tuple[FilePath, ...], Field(min_length=1, strict=False), Tag("files")]
_Pair = Annotated[FilePair, Tag("pair")]
_Spiral = Annotated[Spiral, Tag("spiral")]
_Toy = Annotated[Toy, Tag("toy")]
_Fraction = Annotated[Fraction, Tag("fraction")]
_Fold = Annotated[Fold, Tag("fold")]
_Rows = _Path | _Files | _Pair | _Spiral | _Toy
Source = Annotated[_Rows, Discriminator(_kind_of_source)]
FractionOrSource = Annotated[_Fraction | _Rows, Discriminator(_kind_of_source)]
FractionFoldOrSource = Annotated[_Fraction | _Fold | _Rows, Discriminator(_kind_of_source)]


class DataConfig(Section):
    """Where the rows come from and how they are prepared."""

    train: Source = key(
        ...,
        "training rows: a file (CSV, Parquet, Feather, xlsx, npz, .bin), a list of CIFAR-10's .bin files, "
        "{features: FILE, labels: FILE} (IDX or npy) or {generator: NAME, ...}; relative to this file",
    )
    test: FractionOrSource | None = key(
        None, "test rows: a source, or the fraction of train held out first; null or 0: none"
    )
    validation: FractionFoldOrSource | None = key(
        0.15,
        "validation rows: a fraction of what remains, stratified, {fold: I, folds: K} for part I of K, or a source; "
        "null or 0: none",
    )
    label: Column | None = key(None, "table: column of the label, name or position (0 first, -1 last)")
    ignore: tuple[Column, ...] = key((), "table: columns left out, names or positions", strict=False)
    categorical: tuple[Column, ...] = key(
        (), "table: columns turned into one-hot features, names or positions", strict=False
    )
    missing: Literal["refuse", "drop", "mean"] = key(
        "refuse", "missing cells: error (refuse), drop the row (drop), or impute the training mean (mean)"
    )
    missing_values: tuple[str | int | float, ...] | None = key(
        None, "tables: spellings of a missing cell, e.g. [NA, '?', -999]; null: the usual ones", strict=False
    )
    unseen: Literal["none", "error"] = key(
        "none", "tables: a category that training never saw counts as none of the known ones (none) or is an error"
    )
    constant: Literal["keep", "drop"] = key("keep", "tables: columns with one value in all rows: keep or drop them")
    header: Literal["auto"] | bool = key("auto", "tables: whether the first row holds the names")
    separator: (
        Literal["auto", "tab"]
        | Annotated[str, Field(min_length=1, max_length=1, json_schema_extra={"format": "character"})]
    ) = key("auto", "text tables: what separates the cells, e.g. ';'; auto: found in the file")
    decimal: Literal["auto", ".", ","] = key("auto", "text tables: decimal point; auto: found")
    encoding: str = key("utf-8", "text tables: the encoding, e.g. latin-1", min_length=1)
    scale: Literal["none", "center", "standardize", "max"] = key(
        "standardize", "scaling of the features, fitted on the training rows alone"
    )


class ModelConfig(Section):
    """The network: D features, H hidden units, C classes."""

    hidden: int = key(64, "H, hidden units; 0: softmax regression", ge=0, le=1_000_000)
    init: Literal["he", "xavier", "normal"] = key("he", "how the weights are drawn at the start")
    init_std: float = key(0.01, "standard deviation of the weights, for init: normal", gt=0)
    dtype: Literal["float32", "float64"] = key("float32", "float type of all arrays")


ClassWeight = Literal["none", "balanced"] | dict[str, NotNegative]
_CLASS_WEIGHT = "weight of each class in the loss: none, balanced, or {label: weight}, others 1"

# What the section `solver` has differently from SolverSettings, whose docstring says why.
_DEFAULTS: dict[str, Any] = {"optimizer": "momentum", "epochs": 40, "monitor": "val_accuracy"}
_ELSEWHERE = ("shuffle", "seed", "evaluate_rows", "objective")


def _solver_fields() -> dict[str, Any]:
    """Return the keys of the section `solver`, derived from the fields of SolverSettings."""
    hints = get_type_hints(SolverSettings)
    keys: dict[str, Any] = {}
    for each in settings_in_order():
        name, meaning = each.name, each.metadata["meaning"]
        if name in _ELSEWHERE:
            continue
        if name == "monitor":
            keys["class_weight"] = (ClassWeight, key("none", _CLASS_WEIGHT))
        default = _DEFAULTS.get(name, each.default)
        if name in OWNERS:
            meaning += f" ({', '.join(OWNERS[name][1])})"
        if name in DEPENDENT_DEFAULTS:
            chooser, values = DEPENDENT_DEFAULTS[name]
            default = values[_DEFAULTS.get(chooser, getattr(SolverSettings, chooser))]
            meaning += f"; left out: {_by_choice(values)}"
        kind = next(kind for kind in get_args(hints[name]) or (hints[name],) if kind is not NoneType)
        if choices := MONITORS if name == "monitor" else each.metadata["choices"]:
            kind = Literal[choices]
        kind = Annotated[kind, Field(**each.metadata["bounds"])]
        keys[name] = (kind if default is not None else kind | None, key(default, meaning))
    return keys


def _by_choice(values: dict[str, float]) -> str:
    """Return the default, and after it the choices that have another, e.g. `0.1, 0.001 for rmsprop, adam, adamw`."""
    usual = next(iter(values.values()))
    others = dict.fromkeys(value for value in values.values() if value != usual)
    named = [f"{value} for {', '.join(name for name in values if values[name] == value)}" for value in others]
    return ", ".join([f"{usual}", *named])


if TYPE_CHECKING:

    class SolverConfig(Section, SolverSettings):
        """Minibatch gradient descent."""

        class_weight: ClassWeight = "none"
        monitor: str = "val_accuracy"

else:
    SolverConfig = create_model("SolverConfig", __base__=Section, **_solver_fields())
    SolverConfig.__doc__ = "Minibatch gradient descent."


class RunConfig(Section):
    """What a run writes, and when. Only `refit` changes the model."""

    dir: FolderPath = key("runs", "folder in which run folders are made; relative to the current folder")
    checkpoint_seconds: float = key(30.0, "seconds between checkpoints within long epochs", ge=0)
    evaluate_rows: Count = key(10_000, "maximum number of training rows in train_loss and train_accuracy")
    redraw_seconds: float = key(
        2.0, "least seconds between redraws of loss_curve.png; drawing never takes over 2 % of the time", ge=0
    )
    refit: bool = key(False, "train once more on training and validation rows, for the epochs that validation chose")
    snapshot_epochs: Count | None = key(
        None, "epochs between two saved copies of the parameters, for animations; null: none"
    )


_ENDS: dict[str, Any] = {"min_length": 2, "max_length": 2}
_Ends = Annotated[list[float], Field(**_ENDS, json_schema_extra={"format": "ends"})]
_WholeEnds = Annotated[list[int], Field(**_ENDS, json_schema_extra={"format": "whole ends"})]
_Choices = Annotated[
    list[str | float | bool | None], Field(min_length=1, max_length=1000, json_schema_extra={"format": "choices"})
]


class Range(Section, json_schema_extra={"format": "range"}):
    """The values of a config key between two ends, both included, in one of three ways."""

    uniform: _Ends = key(None, "[LOW, HIGH]: numbers, all equally likely")
    log_uniform: _Ends = key(None, "[LOW, HIGH]: numbers above 0, spaced by ratios")
    integer: _WholeEnds = key(None, "[LOW, HIGH]: whole numbers")
    step: int = key(1, "distance of two integers", ge=1)
    log: bool = key(False, "integers spaced by ratios")
    points: int | None = key(None, "number of values that a grid takes; null: every integer", ge=2, le=1000)


class SweepFile(Section):
    """A sweep file: the keys beside it that may be overridden are those of its base config, such as `solver.epochs`."""

    base: FilePath = key(..., "the config that every trial starts from, relative to the sweep file")
    space: dict[str, _Choices | Range] = key(
        ..., "the config keys to vary, each with its values", min_length=1, json_schema_extra={"format": "space"}
    )
    sampler: Literal["grid", "random", "tpe"] = key("random", "how the points are picked")
    seed: int = key(0, "seed of the sampler", ge=0, le=2**32 - 1)
    seeds: int = key(1, "runs per point, with the base's seed, the next one, ...", ge=1, le=1000)
    folds: int | None = key(
        None, "K-fold cross-validation of every point and seed; null: the base's validation", ge=2, le=100
    )
    pruner: Literal["none", "median", "hyperband"] = key("none", "which rule ends hopeless trials early")
    min_epochs: Count = key(1, "epochs that every trial gets before a pruner may end it")
    trials: Count | None = key(None, "maximum number of points; null: no limit")
    minutes: Annotated[float, Field(gt=0)] | None = key(None, "no new run starts after this time; null: no limit")
    workers: int = key(1, "processes that train side by side", ge=1, le=512)
    threads: int = key(1, "BLAS threads of each process", ge=1, le=512)
    refit: bool = key(False, "train the winner once more on training and validation rows together")
    dir: FolderPath = key("runs/sweeps", "folder of the sweep folders, relative to the current folder")


class Config(Section):
    """A whole run. Paths in `data` and `run.dir` are absolute once loaded.

    Attributes:
        source: the file it was read from, None for a dict.
        name: the file's name without folder and ending, `run` for a dict.
        notes: values that an override replaced by another choice's default, or that look left over.
    """

    seed: int = key(0, "what split, first weights and order of the rows are drawn from", ge=0, lt=2**63)
    data: DataConfig = key(..., "where the rows come from and how they are prepared")
    model: ModelConfig = key(ModelConfig(), "the network")
    solver: SolverConfig = key(SolverConfig(), "minibatch gradient descent")
    run: RunConfig = key(RunConfig(), "what a run writes, and when; only refit changes the model")

    _source: Path | None = PrivateAttr(None)
    _notes: tuple[str, ...] = PrivateAttr(())

    @property
    def source(self) -> Path | None:
        return self._source

    @property
    def notes(self) -> tuple[str, ...]:
        return self._notes

    @property
    def name(self) -> str:
        return self._source.stem if self._source is not None else "run"

    def __eq__(self, other: object) -> bool:
        """Return whether all keys are equal, wherever the two were read from."""
        return isinstance(other, Config) and self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]


KEYS: dict[str, FieldInfo] = {}  # every key by its dotted name
for _section, _field in Config.model_fields.items():
    _inside = getattr(_field.annotation, "model_fields", None)
    KEYS |= {f"{_section}.{name}": each for name, each in _inside.items()} if _inside else {_section: _field}
