"""The network: four arrays, and the way from rows to scores to probabilities, equations (1) to (4).

Rows are samples: X (N, D), W1 (D, H), b1 (H,), W2 (H, C), b2 (C,). Without a hidden layer (`hidden: 0`) W1 and b1
are None, the activations are the rows themselves, W2 is (D, C), and everything from (3) on holds unchanged."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Init = Literal["he", "xavier", "normal"]

_CACHE_LINE = 64  # bytes; no vector register is longer


class Params(NamedTuple):
    """The parameters, or anything that has one number for each of them: gradients, velocities, moments.

    Attributes:
        W1: (D, H), or None without a hidden layer.
        b1: (H,), or None without a hidden layer.
        W2: (H, C); (D, C) without a hidden layer.
        b2: (C,).
    """

    W1: Array | None
    b1: Array | None
    W2: Array
    b2: Array

    @property
    def n_features(self) -> int:
        """D, the numbers in a row."""
        return len(self.W2) if self.W1 is None else len(self.W1)

    @property
    def n_hidden(self) -> int:
        """H, or 0 for softmax regression."""
        return 0 if self.W1 is None else self.W1.shape[1]

    @property
    def n_classes(self) -> int:
        """C."""
        return len(self.b2)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(D, H, C)."""
        return self.n_features, self.n_hidden, self.n_classes

    @property
    def dtype(self) -> np.dtype[Any]:
        """The float type of all arrays."""
        return self.W2.dtype

    def named(self) -> dict[str, Array]:
        """Return the arrays that are not None, by name, in the order of the fields."""
        return {name: array for name, array in self._asdict().items() if array is not None}

    def map(self, function: Callable[[Array], Array]) -> Params:
        """Return Params of `function` applied to each array that is not None."""
        W1 = None if self.W1 is None else function(self.W1)
        b1 = None if self.b1 is None else function(self.b1)
        return Params(W1, b1, function(self.W2), function(self.b2))

    def copy(self) -> Params:
        """Return the same numbers in new arrays."""
        return self.map(np.copy)

    def __repr__(self) -> str:
        shape = "-".join(str(n) for n in self.sizes if n)
        count = sum(array.size for array in self.named().values())
        return f"Params({shape}, {self.dtype}, {count:,} numbers)"


class FlatParams(NamedTuple):
    """Params whose four arrays are views of one vector, so that an update, a norm or a check is one pass."""

    vector: Array  # (n,) W1, W2, b1, b2 one after the other, each starting on a cache line; the gaps stay 0
    params: Params  # the views
    n_weights: int  # where the biases begin: `vector[:n_weights]` are the numbers that L2 penalises


def whole_lines(size: int, dtype: DTypeLike) -> int:
    """Return how many numbers fill the cache lines that `size` of them begin."""
    per_line = _CACHE_LINE // np.dtype(dtype).itemsize
    return -(-size // per_line) * per_line


def aligned_zeros(size: int, dtype: DTypeLike) -> Array:
    """Return (size,) zeros that begin on a cache line and share none with other arrays."""
    raw = np.zeros(whole_lines(size, dtype) + whole_lines(1, dtype), dtype)
    first = -raw.ctypes.data % _CACHE_LINE // raw.itemsize
    return raw[first : first + size]


def flat_zeros(n_features: int, n_hidden: int, n_classes: int, dtype: DTypeLike) -> FlatParams:
    """Return zeros for a D-H-C network in one vector; see `FlatParams`."""
    hidden: dict[str, tuple[int, ...]] = {"W1": (n_features, n_hidden), "b1": (n_hidden,)}
    output: dict[str, tuple[int, ...]] = {"W2": (n_hidden or n_features, n_classes), "b2": (n_classes,)}
    shapes = hidden | output if n_hidden else output
    starts, end = {}, 0
    for name in sorted(shapes):  # W before b
        starts[name] = end
        end += whole_lines(math.prod(shapes[name]), dtype)
    vector = aligned_zeros(end, dtype)
    views = {name: vector[at : at + math.prod(shapes[name])].reshape(shapes[name]) for name, at in starts.items()}
    params = Params(views.get("W1"), views.get("b1"), views["W2"], views["b2"])
    return FlatParams(vector, params, n_weights=starts.get("b1", starts["b2"]))


def flat_copy(params: Params) -> FlatParams:
    """Return a copy of `params` whose arrays are views of one vector."""
    flat = flat_zeros(*params.sizes, params.dtype)
    for name, array in params.named().items():
        flat.params.named()[name][...] = array
    return flat


def init_params(
    n_features: int,
    n_hidden: int,
    n_classes: int,
    *,
    rng: np.random.Generator,
    init: Init = "he",
    init_std: float = 0.01,
    dtype: DTypeLike = np.float32,
) -> Params:
    """Return random weights and zero biases, Params of W1 (D, H), b1 (H,), W2 (H, C), b2 (C,); `n_hidden` 0 gives
    softmax regression. An unknown `init` is a ValueError.

    The standard deviation of a weight into a unit with `fan_in` inputs and `fan_out` outputs is

        he       sqrt(2 / fan_in)               keeps the variance through a ReLU (He et al., 2015)
        xavier   sqrt(2 / (fan_in + fan_out))   keeps it through a linear layer, both ways (Glorot and Bengio, 2010)
        normal   init_std                       a fixed one, as CS231n's assignments have it

    W2 feeds the softmax and no ReLU, so `he` takes sqrt(1 / fan_in) there.

    The numbers are drawn from `rng` in float64 and rounded to `dtype`, float32 or float64.
    """
    if init not in get_args(Init):
        raise ValueError(f"init: expected one of {', '.join(get_args(Init))}, got {init!r}")

    def weights(fan_in: int, fan_out: int, gain: float) -> Array:
        he, xavier = math.sqrt(gain / fan_in), math.sqrt(2 / (fan_in + fan_out))
        std = {"he": he, "xavier": xavier, "normal": init_std}[init]
        return (std * rng.standard_normal((fan_in, fan_out))).astype(dtype)

    W1 = weights(n_features, n_hidden, gain=2.0) if n_hidden else None
    b1 = np.zeros(n_hidden, dtype) if n_hidden else None
    W2 = weights(n_hidden or n_features, n_classes, gain=1.0)
    return Params(W1, b1, W2, np.zeros(n_classes, dtype))


LONGEST_SUM = {4: 448, 8: 384}  # terms, by bytes of a number; no kernel of OpenBLAS splits shorter sums differently
SMALL_PRODUCT = 1_000_000  # multiplications up to which its kernels are others, which add up in another order


def product(X: Array, W: Array, out: Array | None = None) -> Array:
    """Return X W, with long sums split here and not in BLAS, where the split may depend on the number of threads; only
    where a part is no `SMALL_PRODUCT`: then the result is that of BLAS on two threads."""
    D, longest = len(W), LONGEST_SUM.get(W.dtype.itemsize, 0)
    borders = [0, D]
    if 0 < longest < D and X.dtype == W.dtype:
        borders = [*range(0, D - 2 * longest + 1, longest)]
        at = borders[-1] + longest if borders else 0
        borders = [*borders, at, D] if D - at <= longest else [*borders, at, at + (D - at + 1) // 2, D]
    shortest = min(end - begin for begin, end in pairwise(borders))
    if len(borders) == 2 or len(X) * W.shape[1] * shortest <= SMALL_PRODUCT:
        whole: Array = np.matmul(X, W, out=out)
        return whole
    result: Array = np.matmul(X[:, : borders[1]], W[: borders[1]], out=out)
    for begin, end in pairwise(borders[1:]):
        result += X[:, begin:end] @ W[begin:end]
    return result


def hidden_activations(params: Params, X: Array, out: Array | None = None) -> Array:
    """Return A1 (N, H) of equations (1) and (2) for X (N, D), in `out` if given; X itself without a hidden layer."""
    if params.W1 is None:
        return X
    Z1 = product(X, params.W1, out)  # (N, H)
    Z1 += params.b1  # (1) broadcasting: the ones vector times b1^T
    return np.maximum(Z1, 0, out=Z1)  # (2) in place: A1 > 0 exactly where Z1 > 0


def forward(params: Params, X: Array, A1: Array | None = None, out: Array | None = None) -> Array:
    """Return the scores S (N, C) of equations (1) to (3).

    Args:
        params: Params of a D-H-C network.
        X: (N, D).
        A1: (N, H), optional, left holding the hidden activations.
        out: (N, C), optional, filled with the result.
    """
    S: Array = np.matmul(hidden_activations(params, X, out=A1), params.W2, out=out)  # (N, C)
    S += params.b2  # (3)
    return S


def softmax(S: Array, out: Array | None = None) -> Array:
    """Return the probabilities P (N, C) of equation (4) for scores S (N, C), each row shifted by its maximum.

    The shift leaves the result as it is, since it cancels in the fraction, and keeps exp from overflowing.
    """
    P: Array = np.subtract(S, S.max(axis=1, keepdims=True), out=out)  # (N, C), at most 0
    np.exp(P, out=P)
    P /= P.sum(axis=1, keepdims=True)
    return P
