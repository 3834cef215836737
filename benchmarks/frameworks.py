"""The contestants from the deep-learning frameworks, written as their own guides write a training loop."""

from __future__ import annotations

import importlib
import os
from typing import Any

import numpy as np

from benchmarks.cases import MOMENTUM, REG, Work
from benchmarks.contestants import Ready
from twolayer.network.model import Params


def pytorch(work: Work, compile: bool) -> Ready:
    """Linear, ReLU, Linear, cross_entropy, backward and the fused SGD; weight decay on the weights alone."""
    import torch
    from torch.nn import functional

    D, H, C, B = work.case.shape
    model = torch.nn.Sequential(torch.nn.Linear(D, H), torch.nn.ReLU(), torch.nn.Linear(H, C))
    first: Any = model[0]
    second: Any = model[2]
    W1, b1, W2, b2 = work.params
    with torch.no_grad():
        for parameter, start in ((first.weight, W1), (second.weight, W2)):
            parameter.copy_(torch.from_numpy(np.asarray(start).T.copy()))
        for parameter, start in ((first.bias, b1), (second.bias, b2)):
            parameter.copy_(torch.from_numpy(np.asarray(start)))
    groups = [
        {"params": [first.weight, second.weight], "weight_decay": REG},
        {"params": [first.bias, second.bias], "weight_decay": 0.0},
    ]
    momentum = MOMENTUM if work.case.optimizer == "momentum" else 0.0
    optimizer = torch.optim.SGD(groups, lr=work.case.learning_rate, momentum=momentum, fused=True)
    X: Any = torch.from_numpy(work.X)
    y: Any = torch.from_numpy(work.y)
    batches = list(zip(X.split(B), y.split(B), strict=True))

    def compute_loss(x: Any, y: Any) -> Any:
        return functional.cross_entropy(model(x), y)

    if compile:
        torch._dynamo.reset()
        compute_loss = torch.compile(compute_loss)

    def run_pass() -> None:
        for x, y in batches:
            optimizer.zero_grad()
            compute_loss(x, y).backward()
            optimizer.step()

    def params() -> Params:
        W1, b1, W2, b2 = (parameter.detach().numpy() for parameter in model.parameters())
        return Params(W1.T, b1, W2.T, b2)

    return Ready(run_pass, params)


def jax_scan(work: Work) -> Ready:
    """One jitted function that scans over all batches of a pass: the least overhead JAX can have."""
    jax: Any = importlib.import_module("jax")
    jnp = jax.numpy

    D, _, C, B = work.case.shape
    rate = work.case.learning_rate
    X, y = jnp.asarray(work.X).reshape(-1, B, D), jnp.asarray(work.y).reshape(-1, B)

    def loss(params: Any, x: Any, labels: Any) -> Any:
        W1, b1, W2, b2 = params
        scores = jax.nn.relu(x @ W1 + b1) @ W2 + b2
        data_loss = -jnp.mean(jnp.sum(jax.nn.log_softmax(scores) * jax.nn.one_hot(labels, C), axis=1))
        return data_loss + REG / 2 * (jnp.sum(W1 * W1) + jnp.sum(W2 * W2))

    def step(carry: Any, batch: Any) -> Any:
        params, velocities = carry
        value, gradients = jax.value_and_grad(loss)(params, *batch)
        if work.case.optimizer == "momentum":
            velocities = jax.tree.map(lambda v, g: MOMENTUM * v - rate * g, velocities, gradients)
            params = jax.tree.map(lambda q, v: q + v, params, velocities)
        else:
            params = jax.tree.map(lambda q, g: q - rate * g, params, gradients)
        return (params, velocities), value

    scan = jax.jit(lambda carry: jax.lax.scan(step, carry, (X, y))[0])
    start = tuple(jnp.array(array) for array in work.params)
    state = [(start, jax.tree.map(jnp.zeros_like, start))]

    def run_pass() -> None:
        state[0] = jax.block_until_ready(scan(state[0]))

    return Ready(run_pass, lambda: Params(*(np.array(array) for array in state[0][0])))


def keras_xla(work: Work) -> Ready:
    """Keras on JAX, its whole training step compiled by XLA (`jit_compile`), one `fit` a pass."""
    os.environ["KERAS_BACKEND"] = "jax"
    keras: Any = importlib.import_module("keras")
    D, H, C, B = work.case.shape
    decay = keras.regularizers.L2(REG / 2)
    model = keras.Sequential(
        [
            keras.layers.Input((D,)),
            keras.layers.Dense(H, activation="relu", kernel_regularizer=decay),
            keras.layers.Dense(C, kernel_regularizer=decay),
        ]
    )
    model.set_weights([np.asarray(array) for array in work.params])
    momentum = MOMENTUM if work.case.optimizer == "momentum" else 0.0
    model.compile(
        optimizer=keras.optimizers.SGD(work.case.learning_rate, momentum=momentum),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=True,
    )

    def run_pass() -> None:
        model.fit(work.X, work.y, batch_size=B, epochs=1, shuffle=False, verbose=0)

    return Ready(run_pass, lambda: Params(*(np.asarray(each.value) for each in model.weights)))
