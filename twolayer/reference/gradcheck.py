"""Check a loss and its gradients twice: against finite differences of its own loss, and against references.

A gradient that is wrong alone disagrees with its own loss. A loss and a gradient that are wrong together agree, and
only an independent implementation shows it; so both comparisons are made, of the data loss, the penalty and the sum."""

import html
import itertools
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from twolayer.network.model import Array, Params, forward, hidden_activations
from twolayer.reference.plain import LossAndGradients, two_loops
from twolayer.utils.errors import TwoLayerError

Part = Literal["data", "penalty", "total"]
PARTS: tuple[Part, ...] = get_args(Part)
DIFFERENCES = "differences"
DIFFERENCE_TOLERANCE = 1e-6
REFERENCE_TOLERANCE = 1e-12
SMALLEST = 1e-8  # errors are relative to the largest entry, but never to less than this

_EPS = float(np.finfo(np.float64).eps)
_STEP = _EPS ** (1 / 3)  # balances the truncation error, about step^2, and the rounding error, about eps / step


@dataclass(frozen=True)
class Comparison:
    """One array of one part of the function, against one oracle."""

    oracle: str  # `differences`, or the name of a reference
    part: Part  # `data` (the function at reg = 0), `penalty` (at reg, minus at 0), `total` (at reg)
    array: str  # `loss`, or the parameter array's name
    error: float  # `relative_error` over the entries compared
    tolerance: float  # the largest error for gradients of ordinary size
    allowed: float  # the tolerance, plus what rounding explains here; see `check_gradients`
    entries: int  # how many were compared; 0 if every one crossed a kink
    factor: float | None = None  # k, if the array is k times what the oracle says and that is all that is wrong

    @property
    def passed(self) -> bool:
        """True if the error is within what is allowed."""
        return self.error <= self.allowed < math.inf

    @property
    def only_rounding(self) -> bool:
        """True if the gradient is so close to 0 that all of the error is rounding: passed, and above the tolerance."""
        return self.passed and self.error > self.tolerance


class Kink(NamedTuple):
    """An entry of W1 or b1 without a centred difference: between its probes a ReLU changes sides in `rows`."""

    array: str
    entry: tuple[int, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True)
class GradientCheck:
    """The result of `check_gradients`."""

    comparisons: tuple[Comparison, ...]
    kinks: tuple[Kink, ...]  # entries left out of the comparisons with differences
    problems: tuple[str, ...]  # what is wrong before any number is compared, such as a gradient's shape; in words
    skipped: Mapping[str, str]  # references that could not be run on this problem, each with the reason
    hints: tuple[str, ...] = ()  # factors that explain failures, and what to change, in words

    @property
    def passed(self) -> bool:
        """True if nothing is wrong."""
        return not self.problems and not self.failures

    @property
    def failures(self) -> tuple[Comparison, ...]:
        """The comparisons that did not pass."""
        return tuple(comparison for comparison in self.comparisons if not comparison.passed)

    @property
    def caught_by(self) -> frozenset[str]:
        """The oracles with a failure: `differences` and names of references."""
        return frozenset(comparison.oracle for comparison in self.failures)

    def table(self) -> str:
        """Return the errors, 80 columns wide: a column per array, a line per oracle and part; `!` marks failures."""
        cells = {}
        for c in self.comparisons:
            text = "kinks" if not c.entries else "~0" if c.only_rounding else f"{c.error:.1e}"
            cells[c.oracle, c.part, c.array] = f"{text:>9}" + (" " if c.passed else "!")
        arrays = sorted(dict.fromkeys(c.array for c in self.comparisons), key=lambda name: name != "loss")
        lines = [f"{'error':<26}" + "".join(f"{name:>10}" for name in arrays)]
        for oracle, part in dict.fromkeys((c.oracle, c.part) for c in self.comparisons):
            row = [cells.get((oracle, part, name), f"{'-':>9} ") for name in arrays]
            lines.append(f"{oracle:<16}{part:<10}" + "".join(row))
        notes = [f"{name}: not run: {reason}" for name, reason in self.skipped.items()]
        if self.kinks:
            where = " and ".join(sorted({kink.array for kink in self.kinks}))
            n_rows = len({row for kink in self.kinks for row in kink.rows})
            notes.append(
                f"entries left out of the differences: {len(self.kinks)} of {where}; between their two probes a ReLU "
                f"changes sides (in {n_rows} of the rows)"
            )
        if self.failures:
            notes.append("!: wrong, as neither the tolerance nor rounding allows such an error")
        if any(comparison.only_rounding for comparison in self.comparisons):
            notes.append("~0: all rounding, as the gradient is almost 0")
        notes += [*self.hints, *(f"WRONG: {problem}" for problem in self.problems)]
        lines += itertools.chain(*(textwrap.wrap(note, 79, subsequent_indent="  ") for note in notes))
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        """Return the table for a notebook, where the check is the value of a cell."""
        return f"<pre>{html.escape(self.table())}</pre>"


def worst_of(checks: Sequence[GradientCheck]) -> GradientCheck:
    """Return one check that holds, for each oracle, part and array, the worst comparison of several checks."""

    def badness(comparison: Comparison) -> tuple[bool, float]:
        negligible = comparison.only_rounding or not comparison.entries
        return not comparison.passed, -1.0 if negligible else comparison.error

    worst: dict[tuple[str, str, str], Comparison] = {}
    for each in itertools.chain(*(check.comparisons for check in checks)):
        key = each.oracle, each.part, each.array
        worst[key] = max(worst.get(key, each), each, key=badness)
    problems = itertools.chain(*(check.problems for check in checks))
    return GradientCheck(tuple(worst.values()), (), tuple(problems), {})


def relative_error(a: Array, n: Array) -> float:
    """Return max|a - n| / max(max|a|, max|n|, 1e-8); inf where an entry is not finite, 0 for empty arrays."""
    a, n = np.asarray(a, np.float64), np.asarray(n, np.float64)
    if not (np.isfinite(a).all() and np.isfinite(n).all()):
        return float("inf")
    return float(np.abs(a - n).max(initial=0) / _scale(a, n))


def _scale(a: Array, n: Array) -> float:
    return max(float(np.abs(a).max(initial=0)), float(np.abs(n).max(initial=0)), SMALLEST)


def check_gradients(
    loss_and_gradients: LossAndGradients,
    params: Params,
    X: Array,
    y: Array,
    reg: float = 0.0,
    *,
    against: LossAndGradients | Mapping[str, LossAndGradients] | None = two_loops,
    max_entries: int | None = None,
    rng: np.random.Generator | None = None,
) -> GradientCheck:
    """Check a function's gradients against differences of its own loss, and loss and gradients against references.

    Everything is computed in float64. An error passes up to 1e-6 (differences) or 1e-12 (references, times the largest
    score if that is above 1, since rounding a score is a relative error of its exponential), plus what rounding
    explains where terms cancel: a few eps times the factors between this array and the scores. An entry of W1 or b1 is
    left out of the differences, and reported as a kink, if a ReLU changes sides between its two probes.

    Args:
        loss_and_gradients: the function to check, called as `loss_and_gradients(params, X, y, reg)`; `params.W1` and
            `params["W1"]` both work. It returns the loss, penalty included, and the gradients as Params or a dict.
        params: where to check.
        X: (N, D).
        y: (N,) class indices, or (N, C) one-hot rows.
        reg: r. The penalty is checked only if it is not 0.
        against: one reference, or several by name; None compares with differences alone.
        max_entries: probe at most this number of entries per array by differences, drawn at random; None: all.
        rng: draws those entries; needed with `max_entries`.

    Raises:
        TypeError: if the function returns anything but a loss and gradients by name.
        ValueError: if its loss is not one number, or `max_entries` comes without `rng`.

    Example:
        >>> params = init_params(2, 3, 2, rng=np.random.default_rng(0))
        >>> X, y = np.random.default_rng(1).normal(size=(4, 2)), np.array([0, 1, 1, 0])
        >>> check_gradients(loss_and_gradients, params, X, y, reg=0.1).passed
        True
    """
    if max_entries is not None and rng is None:
        raise ValueError("rng: expected a numpy Generator, as max_entries draws entries at random; got None")
    if callable(against):
        against = {getattr(against, "__name__", "reference").replace("_", " "): against}
    params = params.map(lambda array: np.array(array, np.float64))
    with np.errstate(all="ignore"):  # a function that overflows is reported, not warned about
        checker = _Checker(loss_and_gradients, params, np.array(X, np.float64), np.array(y), reg)
        comparisons: list[Comparison] = []
        kinks: list[Kink] = []
        for name in params.named():
            if ("data", name) in checker.ours:
                found, crossed = checker.against_differences(name, max_entries, rng)
                comparisons, kinks = comparisons + found, kinks + crossed
        skipped = {}
        for name, reference in (against or {}).items():
            try:
                comparisons += checker.against_reference(name, reference)
            except TwoLayerError as error:
                skipped[name] = str(error)
    hints = _hints(comparisons, {"N": len(X), "C": params.n_classes})
    return GradientCheck(tuple(comparisons), tuple(kinks), tuple(checker.problems), skipped, tuple(hints))


class _Checker:
    """One function at one place, and the size of rounding errors there."""

    def __init__(self, function: LossAndGradients, params: Params, X: Array, y: Array, reg: float) -> None:
        self.function, self.params, self.X, self.y, self.reg = function, params, X, y, reg
        self.problems: dict[str, None] = {}  # each once, in order
        self.Z1 = None if params.W1 is None else X @ params.W1 + params.b1  # (N, H)
        # Bounds on |dS/dq|, so that a probe moves no score by more than about _STEP.
        through_W2 = float(np.abs(params.W2).max())
        reach = {"W1": through_W2 * float(np.abs(X).max()), "b1": through_W2, "b2": 1.0}
        reach["W2"] = float(np.abs(hidden_activations(params, X)).max())
        self.reach = {name: max(1.0, bound) for name, bound in reach.items()}
        self.largest_score = max(1.0, float(np.abs(forward(params, X)).max()))
        self.ours = self.parts(lambda reg: self.evaluate(function, reg))

    def evaluate(self, function: LossAndGradients, reg: float) -> dict[str, Array]:
        """Return loss and gradients by name; what does not fit the parameters is left out and becomes a problem."""
        params, X, y = _ByName(*self.params.copy()), self.X.copy(), self.y.copy()
        loss, gradients = _loss_and_named(function(params, X, y, reg), self.params.named().keys())
        found: dict[str, Array] = {"loss": np.asarray(loss, np.float64)}
        if found["loss"].ndim:
            raise ValueError(f"loss: expected one number, got an array of shape {found['loss'].shape}")
        unchanged = np.array_equal(X, self.X) and np.array_equal(y, self.y)
        for name, array in self.params.named().items():
            gradient = gradients.get(name)
            if gradient is None or np.shape(gradient) != array.shape:
                got = "none" if gradient is None else f"{np.shape(gradient)}"
                self.problems[f"the gradient of {name}: expected shape {array.shape}, got {got}"] = None
            else:
                found[name] = np.asarray(gradient, np.float64)
            unchanged = unchanged and np.array_equal(getattr(params, name), array)
        if not unchanged:
            problem = "the function changed its arguments; it must leave the parameters, X and y as they are"
            self.problems[problem] = None
        return found

    def parts(self, evaluate: Callable[[float], dict[str, Array]]) -> dict[tuple[Part, str], Array]:
        """Return arrays by part and name: data (at reg = 0), total (at reg), and penalty, their difference."""
        data = evaluate(0.0)
        found: dict[tuple[Part, str], Array] = {("data", name): value for name, value in data.items()}
        for name, value in evaluate(self.reg).items() if self.reg else ():
            if name in data:
                found["penalty", name] = value - data[name]
            found["total", name] = value
        return found

    def against_reference(self, oracle: str, reference: LossAndGradients) -> list[Comparison]:
        theirs = self.parts(lambda reg: self.evaluate(reference, reg))
        return [self.compare(oracle, *key, self.ours[key], theirs[key]) for key in theirs if key in self.ours]

    def against_differences(
        self, name: str, max_entries: int | None, rng: np.random.Generator | None
    ) -> tuple[list[Comparison], list[Kink]]:
        array = self.params.named()[name]
        chosen = np.arange(array.size)
        if max_entries is not None and rng is not None and array.size > max_entries:
            chosen = np.sort(rng.choice(array.size, max_entries, replace=False))
        entries = list(zip(*(axis.tolist() for axis in np.unravel_index(chosen, array.shape)), strict=True))
        crossed = {entry: self.crossed_rows(name, entry) for entry in entries}
        smooth = [entry for entry, rows in crossed.items() if not rows]
        numeric = self.parts(lambda reg: {name: np.array([self.slope(name, entry, reg) for entry in smooth])})
        analytic = {key: np.array([self.ours[key][entry] for entry in smooth]) for key in numeric}
        comparisons = [self.compare(DIFFERENCES, *key, analytic[key], numeric[key]) for key in numeric]
        return comparisons, [Kink(name, entry, rows) for entry, rows in crossed.items() if rows]

    def slope(self, name: str, entry: tuple[int, ...], reg: float) -> float:
        """Return the centred difference of the function's own loss at one entry of one array."""
        losses, places = [], []
        for change in (_STEP / self.reach[name], -_STEP / self.reach[name]):
            params = _ByName(*self.params.copy())
            array = params.named()[name]
            array[entry] += change
            places.append(array[entry])
            losses.append(float(self.function(params, self.X.copy(), self.y.copy(), reg)[0]))
        return float((losses[0] - losses[1]) / (places[0] - places[1]))

    def crossed_rows(self, name: str, entry: tuple[int, ...]) -> tuple[int, ...]:
        """Return the rows whose hidden unit is above 0 at one probe of this entry and not at the other."""
        if self.Z1 is None or name not in ("W1", "b1"):
            return ()
        z = self.Z1[:, entry[-1]]  # (N,)
        change = _STEP / self.reach[name] * (self.X[:, entry[0]] if name == "W1" else np.ones(len(z)))
        return tuple(int(row) for row in np.flatnonzero((z + change > 0) != (z - change > 0)))

    def compare(self, oracle: str, part: Part, name: str, a: Array, n: Array) -> Comparison:
        whole: Part = "total" if self.reg else "data"
        size = max(self.largest_score, abs(float(self.ours[whole, "loss"])))
        if oracle == DIFFERENCES:
            tolerance = DIFFERENCE_TOLERANCE
            explained = self.reach[name] * (_STEP**2 + 8 * _EPS * size / _STEP)
        else:
            tolerance = REFERENCE_TOLERANCE * self.largest_score
            largest = size if name == "loss" else float(np.abs(self.ours[whole, name]).max())
            explained = 8 * _EPS * (largest + self.largest_score * self.reach.get(name, 1.0))
        allowed = tolerance + explained / _scale(a, n)
        error = relative_error(a, n)
        factor = None if error <= allowed else _factor(a, n)
        return Comparison(oracle, part, name, error, tolerance, allowed, a.size, factor)


class _ByName(Params):
    """Params whose arrays are also `params["W1"]`, as in a dict."""

    def __getitem__(self, key: Any) -> Any:
        return getattr(self, key) if isinstance(key, str) else super().__getitem__(key)


def _loss_and_named(result: Any, names: Set[str]) -> tuple[Any, Mapping[str, Any]]:
    """Return what a function returned as its loss and its gradients by name."""
    got = type(result).__name__
    if isinstance(result, tuple | list):
        got = f"({', '.join(type(value).__name__ for value in result)})"
        if len(result) == 2 and isinstance(result[1], Mapping) and not names.isdisjoint(result[1]):
            return result[0], result[1]
        if len(result) == 2 and all(hasattr(result[1], name) for name in names):
            return result[0], {name: getattr(result[1], name) for name in names}
    raise TypeError(
        f"the function must return (loss, gradients), these as Params(W1, b1, W2, b2) or a dict of the names; got {got}"
    )


def _factor(a: Array, n: Array) -> float | None:
    """Return k, if a = k n to six digits in more than one entry."""
    a, n = np.ravel(a), np.ravel(n)
    k = float(a @ n) / float(n @ n) if a.size > 1 and n.any() else 0.0  # NaN where one is not finite
    return k if k and np.abs(a - k * n).max() <= 1e-6 * np.abs(a).max() else None


def _hints(comparisons: Sequence[Comparison], sizes: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence for each part whose failures one factor explains."""
    for part in PARTS[:2]:
        factors = {each.array: round(each.factor, 5) for each in comparisons if each.part == part and each.factor}
        for k in dict.fromkeys(factors.values()):
            arrays = [name for name, factor in factors.items() if factor == k]
            remedy = "multiply by -1" if k == -1 else f"divide by {k:g}"
            for name, size in sizes.items():
                remedy = f"{k:g} = {name}: divide by {name}" if k == size else remedy
                remedy = f"{k:g} = 1/{name}: multiply by {name}" if abs(k * size - 1) < 1e-4 else remedy
            yield f"{part}: {', '.join(arrays)} {'are' if len(arrays) > 1 else 'is'} {k:g} times too large; {remedy}"
