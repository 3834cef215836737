"""The way through the network and back, for a lane's part of it: equations (1) to (3) and (8) to (12) for one batch."""

from __future__ import annotations

from twolayer.compiled.jit import compiled_apart, compiled_within
from twolayer.compiled.lanes import add_up, get_ready_to_write
from twolayer.compiled.layers import add_to_rows, bias_relu, bounded, column_sums, relu_gradient, row_sums
from twolayer.compiled.products import product, product_at, product_tt
from twolayer.compiled.shares import Block, Own, Room
from twolayer.network.model import Array


@compiled_within
def forward_apart(gemm: int, block: Block, own: Own, room: Room, x: Array, n: int, summand: Array) -> bool:
    """(1) to (3) as far as a lane can get by itself with the rows x (n D,): to its summand of the scores, transposed
    (C n,), or of Z1 (n H,). Returns whether all was bounded."""
    M, by_features = block.M, block.F < block.D
    if not by_features:
        get_ready_to_write(summand, block.C * n)
    if M:
        product(gemm, n, block.F, M, x[block.row :], block.D, own.W1, M, summand if by_features else room.A1, M)
    if by_features:
        return True
    A, width = (room.A1, M) if M else (x, block.D)
    return bool(_to_scores(gemm, n, block.C, A, width, own.b1, own.W2, own.b2, summand, room.scratch))


@compiled_within
def forward_together(gemm: int, block: Block, own: Own, room: Room, n: int, summands: Array) -> bool:
    """The rest of (1) to (3), once all lanes have told their summands: the scores, transposed, into `room.dS`.

    Returns whether all was bounded: as |dS| <= 1, dZ1 is then bounded, too.
    """
    if block.F < block.D:
        A1, M = room.A1, block.M
        add_up(summands, n * M, A1)
        return bool(_to_scores(gemm, n, block.C, A1, M, own.b1, own.W2, own.b2, room.dS, room.scratch))
    add_up(summands, block.C * n, room.dS)
    return True


@compiled_apart
def _to_scores(
    gemm: int, n: int, C: int, A: Array, width: int, b1: Array, W2: Array, b2: Array, S: Array, scratch: Array
) -> bool:
    """Bias and ReLU of (1) and (2), if there are any, for A (n, width), and (3), transposed, into S (C n,)."""
    safe = bounded(W2)
    if b1.size:
        safe &= bias_relu(A[: n * width], b1)
    product_tt(gemm, C, width, n, W2, C, A, width, S, n, scratch)
    add_to_rows(S, n, b2)
    return bool(safe)


@compiled_within
def backward(gemm: int, block: Block, own: Own, room: Room, x: Array, n: int) -> None:
    """(8) to (12), but for dW1: from dS^T to dZ1 and the gradients of W2, b1 and b2."""
    M, C = block.M, block.C
    dZ1, dS = room.dZ1[: n * M], room.dS
    if M:
        product_tt(gemm, n, C, M, dS, n, own.W2, C, dZ1, M, room.scratch)
        relu_gradient(dZ1, room.A1)
        column_sums(dZ1, n, own.db1)
    A, width = (room.A1, M) if M else (x, block.D)
    product_tt(gemm, width, n, C, A, width, dS, n, own.dW2, C, room.scratch)
    row_sums(dS, n, own.db2)


@compiled_within
def backward_to_rows(gemm: int, block: Block, own: Own, room: Room, x: Array, n: int, begin: int, end: int) -> None:
    """(11): some rows of the lane's part of dW1."""
    M = block.M
    product_at(
        gemm, end - begin, n, M, x[block.row + begin :], block.D, room.dZ1, M, own.dW1[begin * M :], M, room.scratch
    )
