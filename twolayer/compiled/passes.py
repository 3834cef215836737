"""The way through a lane's part of the network and back: equations (1) to (3) and (8) to (12) for one batch."""

from __future__ import annotations

from twolayer.compiled.jit import compiled_within
from twolayer.compiled.layers import add_to_rows, bias_relu, bounded, column_sums, relu_gradient, row_sums
from twolayer.compiled.products import product, product_tt
from twolayer.model import Array


@compiled_within
def forward(
    gemm: int, x: Array, n: int, lane: int, sizes: tuple[int, int, int, int, int],
    own: tuple[Array, Array, Array, Array], starts: tuple[int, int, int], room: tuple[Array, ...], scores: Array,
) -> bool:  # fmt: skip
    """(1) to (3): the lane's summand of the scores, transposed, of the rows x (n D,) into `scores` (C n,).

    Lane 0 adds b2. Returns whether Z1 and W2 are bounded: as |dS| <= 1, dZ1 is then bounded, too.
    """
    D, M, C, _, _ = sizes
    q, A1, scratch = own[0], room[0][: n * M], room[6]
    width = M if M else D
    W2, b1, b2 = q[starts[0] : starts[0] + width * C], q[starts[1] : starts[1] + M], q[starts[2] : starts[2] + C]
    safe = bounded(W2)
    if M:
        product(gemm, n, D, M, x, D, q, M, A1, M)
        safe &= bias_relu(A1, b1)
    A = A1 if M else x
    product_tt(gemm, C, width, n, W2, C, A, width, scores, n, scratch)
    if lane == 0:
        add_to_rows(scores, n, b2)
    return bool(safe)


@compiled_within
def backward(
    gemm: int, x: Array, n: int, lane: int, sizes: tuple[int, int, int, int, int],
    own: tuple[Array, Array, Array, Array], starts: tuple[int, int, int], room: tuple[Array, ...],
) -> None:  # fmt: skip
    """(8) to (12), but for dW1: from dS^T in `room` to dZ1 in `room` and the gradients of W2, b1 and b2 in the last of
    `own`. The sums of dS, b2's gradient, are lane 0's; there are none of b2 elsewhere."""
    D, M, C, _, _ = sizes
    q, _, _, g = own
    A1, dZ1, dS, scratch = room[0][: n * M], room[1][: n * M], room[2], room[6]
    if M:
        product_tt(gemm, n, C, M, dS, n, q[starts[0] :], C, dZ1, M, scratch)
        relu_gradient(dZ1, A1)
        column_sums(dZ1, n, g[starts[1] : starts[1] + M])
    A, width = (A1, M) if M else (x, D)
    product_tt(gemm, width, n, C, A, width, dS, n, g[starts[0] :], C, scratch)
    if lane == 0:
        row_sums(dS, n, g[starts[2] : starts[2] + C])
