"""The rules between keys: which keys belong to which choice, what a choice needs, and what has to fit together; the
JSON Schema, which has the first of them. A rule that needs a value with a problem of its own is skipped."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from twolayer.config.document import Document, KeyPath, Report
from twolayer.config.models import KEYS, Config
from twolayer.network import settings
from twolayer.network.optim import OPTIMIZERS
from twolayer.network.settings import OWNERS, needs_hidden_layer, needs_validation
from twolayer.utils.text import shown

# key: (the key that chooses, the choices that use it)
OWNED_KEYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "model.init_std": ("model.init", ("normal",)),
    **{f"solver.{name}": (f"solver.{chooser}", choices) for name, (chooser, choices) in OWNERS.items()},
}
# Files of arrays, which have no columns to name; every other file is read as a table.
ARRAY_ENDINGS = (".npz", ".npy", ".bin", "ubyte", "ubyte.gz", ".idx", ".idx.gz")
_OF_TABLES = "label ignore categorical missing_values unseen header separator decimal encoding"
TABLE_KEYS = tuple(f"data.{name}" for name in _OF_TABLES.split())

# Defaults that depend on another key: key -> (that key, the default for each of its values).
DEPENDENT_DEFAULTS: dict[str, tuple[str, dict[str, float]]] = {
    f"solver.{name}": (f"solver.{chooser}", values) for name, (chooser, values) in settings.DEPENDENT_DEFAULTS.items()
}

AT_MOST = {  # a number -> the number that it must not exceed
    "data.validation.fold": "data.validation.folds",
    "solver.min_learning_rate": "solver.learning_rate",
    "solver.warmup_epochs": "solver.epochs",
}
SCHEMA_NAME = "twolayer.schema.json"  # of the file beside a config, which names it for editors
_LARGE = 30  # times the default of the optimizer: a learning rate that deserves a note

Complaint = tuple[str, str]  # (dotted key, message)


class AlreadyReported(Exception):
    """The rule needs a value whose problem is in the report."""


def path_of(key: str) -> KeyPath:
    """Return the path of a dotted key."""
    return tuple(key.split("."))


def default_of(key: str) -> Any:
    """Return the model's default of a dotted key, `...` if it is required."""
    return ... if KEYS[key].is_required() else KEYS[key].default


class Values:
    """The values of a config that may have problems, by dotted key, defaults filled in."""

    def __init__(self, data: Any, report: Report) -> None:
        self._data, self._report = data, report

    def given(self, key: str) -> bool:
        """Return whether the key was written."""
        return self._lookup(key) is not ...

    def __getitem__(self, key: str) -> Any:
        if not self._report.is_usable(path_of(key)):
            raise AlreadyReported
        value = self._lookup(key)
        return self.default(key) if value is ... else value

    def default(self, key: str) -> Any:
        """Return the value that a key has when it is left out."""
        if key == "solver.monitor" and not self.has_validation:
            return "train_loss"
        if key in DEPENDENT_DEFAULTS:
            chooser, values = DEPENDENT_DEFAULTS[key]
            return values[self[chooser]]
        default = default_of(key)
        if default is ...:
            raise AlreadyReported
        return default

    @property
    def has_validation(self) -> bool:
        """Return whether there are validation rows."""
        return self["data.validation"] not in (0, None)

    def unused(self, key: str) -> bool:
        """Return whether the key belongs to another choice than the one made."""
        if key in TABLE_KEYS:
            return not is_table(self["data.train"])
        chooser, owners = OWNED_KEYS[key]
        return self[chooser] not in owners

    def remove(self, key: str) -> None:
        """Take a key out of the data."""
        section, name = key.split(".")
        del self._data[section][name]

    def _lookup(self, key: str) -> Any:
        value = self._data
        for part in key.split("."):
            value = value.get(part, ...) if isinstance(value, dict) else ...
        return value


def is_table(source: Any) -> bool:
    """Return whether a source is a table with a label column, by its file name."""
    return isinstance(source, str) and not source.endswith(ARRAY_ENDINGS)


def check_rules(document: Document, report: Report) -> None:
    """Report every rule that a document breaks whose other problems are in `report`."""
    values = Values(document.data, report)
    found: list[Complaint] = []
    for rule in RULES:
        with suppress(AlreadyReported):
            found.extend(rule(values))
    for key, message in found:
        report.add(path_of(key), message, document.place(path_of(key)))


def drop_left_over(document: Document, report: Report) -> list[str]:
    """Remove the file's keys that belong to a choice which an override changed, and return a note for each number that
    the new choice's default replaces."""
    values = Values(document.data, report)
    notes = []

    def is_override(key: str) -> bool:
        place = document.place(path_of(key))
        return place is not None and place.column == 0

    for key, (chooser, defaults) in DEPENDENT_DEFAULTS.items():
        old = document.replaced.get(path_of(chooser))
        if old is None or not values.given(key) or is_override(key):
            continue
        with suppress(AlreadyReported):
            old, new = default_of(chooser) if old is ... else old, values[chooser]
            value, default = values[key], defaults[new]
            if defaults.get(old, default) != default and not (key in OWNED_KEYS and values.unused(key)):
                values.remove(key)
                if value != default:
                    choice = chooser.split(".")[1]
                    notes.append(
                        f"{key}: {shown(value)} was for {choice}: {old}; with {new} it is {default:g}, the default "
                        f"({key}=VALUE sets another)"
                    )
    choosers = {key: chooser for key, (chooser, _) in OWNED_KEYS.items()} | dict.fromkeys(TABLE_KEYS, "data.train")
    for key, chooser in choosers.items():
        changed, written = is_override(chooser), document.place(path_of(key)) is not None
        if not values.given(key) or is_override(key) or (written and not changed):
            continue
        with suppress(AlreadyReported):  # a dict, whose keys have no place, may hold all keys of another config
            if values.unused(key) and (changed or values[key] == default_of(key)):
                values.remove(key)
    return notes


def cautions(values: Values) -> list[str]:
    """Return notes about values that are allowed and probably left over from another choice."""
    optimizer, rate = values["solver.optimizer"], values["solver.learning_rate"]
    usual = OPTIMIZERS[optimizer].learning_rate
    if rate < _LARGE * usual:
        return []
    return [
        f"solver.learning_rate: {rate:g} is {rate / usual:.0f} times the default of optimizer: {optimizer}; if it is "
        f"left over from another optimizer, write learning_rate: {usual:g} or remove the key"
    ]


def _unused(values: Values) -> Iterator[Complaint]:
    for key, (chooser, owners) in OWNED_KEYS.items():
        with suppress(AlreadyReported):
            if values.given(key) and values.unused(key):
                choice, name = chooser.split(".")[1], key.split(".")[1]
                why = f"not used by {choice}: {values[chooser]}, only by {', '.join(owners)}"
                yield key, f"{why}; remove '{name}' or change '{choice}'"
    for key in TABLE_KEYS:
        with suppress(AlreadyReported):
            if values.given(key) and values.unused(key) and values[key] not in (default_of(key), []):
                yield key, "used only for tables (csv and the like), and data.train is not one; remove it"


def _label_given(values: Values) -> Iterator[Complaint]:
    if is_table(values["data.train"]) and values["data.label"] is None:
        yield "data.label", "missing key: a table needs the name or position (-1: the last) of its label column"


def _columns(values: Values) -> Iterator[Complaint]:
    label, ignore, categorical = values["data.label"], values["data.ignore"], values["data.categorical"]
    for key, columns in (("data.ignore", ignore), ("data.categorical", categorical)):
        if label is not None and label in columns:
            yield key, f"{shown(label)} is the label; take it out of this list"
    for column in categorical:
        if column in ignore:
            yield "data.categorical", f"column {shown(column)} is also in 'ignore'; take it out of one of the lists"


def _encoding(values: Values) -> Iterator[Complaint]:
    name = values["data.encoding"]
    try:
        "".encode(name)
    except (LookupError, ValueError):
        yield "data.encoding", f"unknown encoding {shown(name)}; utf-8, latin-1, cp1252 and utf-16 are common ones"


def _at_most(values: Values) -> Iterator[Complaint]:
    for key, limit in AT_MOST.items():
        with suppress(AlreadyReported):
            is_used = values.given(key) and not (key in OWNED_KEYS and values.unused(key))
            if is_used and values[key] > values[limit]:
                yield key, f"expected at most {limit.split('.')[-1]} ({values[limit]}), got {values[key]}"


def _step_epochs(values: Values) -> Iterator[Complaint]:
    if values["solver.schedule"] == "step" and not values.given("solver.step_epochs"):
        yield "solver.step_epochs", "missing key: schedule: step needs the epochs between two drops, e.g. 10"


def _monitor(values: Values) -> Iterator[Complaint]:
    monitor = values["solver.monitor"]
    if needs_validation(monitor) and not values.has_validation:
        yield "solver.monitor", f"{monitor} needs validation rows; set data.validation, or monitor: train_loss"
    if needs_hidden_layer(monitor) and values["model.hidden"] == 0:
        yield "solver.monitor", f"{monitor} needs a hidden layer, and model.hidden is 0"


def _engine(values: Values) -> Iterator[Complaint]:
    optimizer = values["solver.optimizer"]
    if values["solver.engine"] == "numba" and not OPTIMIZERS[optimizer].compiled:
        yield "solver.engine", f"expected numpy, got numba, which has no optimizer: {optimizer}"


def _min_delta(values: Values) -> Iterator[Complaint]:
    unused = values["solver.patience"] is None and values["solver.schedule"] != "plateau"
    if values["solver.min_delta"] and unused:
        yield "solver.min_delta", "used only by patience and schedule: plateau; set one of them or remove 'min_delta'"


def _refit(values: Values) -> Iterator[Complaint]:
    if not values["run.refit"]:
        return
    if not values.has_validation:
        yield "run.refit", "needs validation rows to choose the number of epochs; set data.validation, or remove it"
    if values["solver.schedule"] == "plateau":
        yield "run.refit", "cannot repeat the drops of schedule: plateau; choose another schedule, or remove it"


RULES = (_unused, _at_most, _label_given, _columns, _encoding, _step_epochs, _monitor, _engine, _min_delta, _refit)


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a config file, ready for `json.dumps`.

    It knows the keys, types, ranges and choices, and which keys belong to which optimiser, schedule and init. The
    loader checks more: that files exist and that keys fit each other.
    """
    schema = Config.model_json_schema()
    for key, (chooser, owners) in OWNED_KEYS.items():
        (section, name), choice = key.split("."), chooser.split(".")[1]
        then: dict[str, Any] = {"properties": {choice: {"enum": list(owners)}}}
        if default_of(chooser) not in owners:
            then["required"] = [choice]
        rules = schema["$defs"][f"{section.title()}Config"].setdefault("allOf", [])
        rules.append({"if": {"required": [name]}, "then": then})
    is_step = {"required": ["schedule"], "properties": {"schedule": {"const": "step"}}}
    schema["$defs"]["SolverConfig"]["allOf"].append({"if": is_step, "then": {"required": ["step_epochs"]}})
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "twolayer config"}
    return {**head, **schema}
