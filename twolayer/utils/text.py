"""Text for messages: how a value from a file is shown, the nearest known name for a misspelt one, and the one form of
an error about data: `place: expected Y, got X; what to do`."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from twolayer.utils.errors import DataError, FileError

_MAX_SHOWN = 60  # characters of a value
_MAX_COMPARED = 100  # characters of a name; the time of a comparison grows with their square

# Names of other libraries for our settings that are far from ours in spelling.
SYNONYMS = {
    name: ours
    for ours, names in {
        "batch_size": "batch minibatch bs",
        "categorical": "categories cat_features category",
        "class_weight": "weights balance",
        "dir": "output out outdir save_dir folder",
        "dtype": "precision float",
        "engine": "backend device",
        "epochs": "max_iter iterations n_epochs steps",
        "epsilon": "eps",
        "factor": "gamma decay",
        "hidden": "hidden_layer_sizes units neurons n_hidden layers width",
        "ignore": "drop exclude skip",
        "init": "initializer weights_init",
        "label": "target y class response",
        "learning_rate": "lr alpha eta step_size learning_rate_init",
        "max_grad_norm": "clip clipnorm grad_clip",
        "min_delta": "tol",
        "missing_values": "na_values nan",
        "momentum": "mu",
        "monitor": "metric",
        "optimizer": "algorithm solver_type",
        "patience": "early_stopping n_iter_no_change",
        "reg": "weight_decay l2 l2_reg lambda regularization regularisation penalty",
        "scale": "normalize normalise standardize scaler",
        "schedule": "scheduler lr_scheduler lr_schedule",
        "seed": "random_state",
        "separator": "sep delimiter",
        "test": "test_size",
        "train": "training file path dataset",
        "val_accuracy": "val_acc acc accuracy validation_accuracy",
        "val_auc": "auc roc_auc",
        "val_f1": "f1 f1_macro",
        "validation": "val valid validation_split validation_fraction",
    }.items()
    for name in names.split()
}


def data_error(where: object, expected: str, got: str, hint: str = "") -> DataError:
    """Return the error `where: expected Y, got X; hint`."""
    return DataError(f"{where}: {expected_got(expected, got, hint)}")


def expected_got(expected: str, got: str, hint: str = "") -> str:
    """Return `expected Y, got X; hint`; the hint may come from `did_you_mean`, with its semicolon."""
    return f"expected {expected}, got {got}" + (f"; {hint.removeprefix('; ')}" if hint else "")


def printable(text: str) -> str:
    """Return `text` with control characters, bidirectional overrides and line ends escaped, safe for a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shown(value: Any, longest: int = _MAX_SHOWN) -> str:
    """Return a value from a file on one short, printable line: text quoted, mappings and lists by their size."""
    match value:
        case dict():
            return f"a mapping with {counted(len(value), 'key')}" if value else "an empty mapping"
        case list() | tuple():
            return f"a list of {len(value)}"
        case None:
            return "nothing (null)"
        case bool():
            return "true" if value else "false"
        case str():
            text = repr(value[: longest + 1])
            return text if len(text) <= longest else f"{text[: longest - 4]}...{text[-1]}"
    try:
        text = printable(str(value))
    except ValueError:  # an integer of more digits than Python prints
        return "a huge number"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def counted(count: int, noun: str) -> str:
    """Return `1 row` or `2,000 rows`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "es" if noun.endswith("s") else "s")


def plain(value: object, longest: int = _MAX_SHOWN) -> str:
    """Return a label, a name or a note for a table or a line: without quotes, printable and short."""
    text = printable(str(value)[: longest + 1])
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def some(values: Iterable[object], most: int = 8) -> str:
    """Return the first few of many values, for a message."""
    listed = list(values)
    more = f", ... ({len(listed):,})" if len(listed) > most else ""
    return ", ".join(map(shown, listed[:most])) + more


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that was probably meant, or None; case does not count, and synonyms are known."""
    by_lower = {other.lower(): other for other in islice(names, 1000) if len(other) <= _MAX_COMPARED}
    lower = name[:_MAX_COMPARED].lower()
    if SYNONYMS.get(lower) in by_lower:
        return by_lower[SYNONYMS[lower]]
    close = difflib.get_close_matches(lower, by_lower, n=1)
    return by_lower[close[0]] if close else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` if one of `names` is close to `name`, else nothing."""
    guess = nearest(name, names)
    return f"; did you mean {shown(guess)}?" if guess is not None else ""


@contextmanager
def as_data_error() -> Iterator[None]:
    """Turn a `FileError` into a `DataError`."""
    try:
        yield
    except DataError:
        raise
    except FileError as error:
        raise DataError(str(error)) from None
