"""The estimator beside its peers: from the same start and the same batches the same objectives as scikit-learn's
MLPClassifier and PyTorch; from their own starts the same accuracy."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from twolayer import TwoLayerClassifier, init_params
from twolayer.interop.bridges import params_from_mlp

DATA = Path(__file__).parents[1] / "data"
EPOCHS, HIDDEN, ROWS = 25, 7, 150


def problem():
    """Iris, standardised and in a fixed random order, so that unshuffled batches hold all classes."""
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return StandardScaler().fit_transform(X)[order], y[order]


def start(n_features=4, n_classes=3):
    params = init_params(n_features, HIDDEN, n_classes, rng=np.random.default_rng(1), dtype=np.float64)
    return params._replace(b1=np.linspace(-0.2, 0.2, HIDDEN), b2=np.linspace(-0.1, 0.1, n_classes))


class StartedMLP(MLPClassifier):
    """An MLPClassifier that begins with given parameters."""

    def _init_coef(self, fan_in, fan_out, dtype):
        params = start()
        return (params.W1.copy(), params.b1.copy()) if fan_in == 4 else (params.W2.copy(), params.b2.copy())


def mlp(batch_size, alpha, **settings):
    return StartedMLP(
        (HIDDEN,), batch_size=batch_size, alpha=alpha, max_iter=EPOCHS, tol=0, n_iter_no_change=EPOCHS, shuffle=False
    ).set_params(**settings)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("batch_size", [ROWS, 50])
@pytest.mark.parametrize(
    ("optimizer", "peer", "rate", "tolerance"),
    [
        ("sgd", {"solver": "sgd", "momentum": 0.0}, 0.5, 1e-9),
        ("momentum", {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": False}, 0.1, 1e-9),
        ("nesterov", {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": True}, 0.1, 1e-9),
        ("adam", {"solver": "adam"}, 0.01, 1e-5),
    ],
)
def test_the_objective_of_every_epoch_is_mlpclassifiers(optimizer, peer, rate, tolerance, batch_size):
    X, y = problem()
    alpha = 0.3
    theirs = mlp(batch_size, alpha, learning_rate_init=rate, **peer).fit(X, y)
    ours = TwoLayerClassifier(
        HIDDEN,
        optimizer=optimizer,
        learning_rate=rate,
        reg=alpha / batch_size,
        batch_size=batch_size,
        epochs=EPOCHS,
        shuffle=False,
    ).fit(X, y, initial_params=start())
    assert len(ours.loss_curve_) == len(theirs.loss_curve_) == EPOCHS
    assert ours.loss_curve_[-1] < 0.7 * ours.loss_curve_[0]
    assert np.abs(np.subtract(ours.loss_curve_, theirs.loss_curve_)).max() <= tolerance
    assert np.abs(ours.predict_proba(X) - theirs.predict_proba(X)).max() <= 10 * tolerance


@pytest.mark.parametrize("batch_size", [ROWS, 50])
@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.5), ("adam", 0.01), ("adamw", 0.01)])
def test_the_objective_of_every_epoch_is_pytorchs(optimizer, rate, batch_size):
    torch = pytest.importorskip("torch")
    X, y = problem()
    reg, params = 0.02, start()
    network = torch.nn.Sequential(torch.nn.Linear(4, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 3)).double()
    weights, biases = [network[0].weight, network[2].weight], [network[0].bias, network[2].bias]
    with torch.no_grad():
        for tensor, array in zip([*weights, *biases], [params.W1.T, params.W2.T, params.b1, params.b2], strict=True):
            tensor.copy_(torch.tensor(array))
    decay = reg if optimizer == "adamw" else 0.0
    groups = [{"params": weights, "weight_decay": decay}, {"params": biases, "weight_decay": 0.0}]
    step = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer](groups, lr=rate)
    rows, labels = torch.tensor(X), torch.tensor(y)
    curve = []
    for _ in range(EPOCHS):
        losses = []
        for at in range(0, ROWS, batch_size):
            step.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(rows[at : at + batch_size]), labels[at : at + batch_size])
            if optimizer != "adamw":
                loss = loss + reg / 2 * sum((W**2).sum() for W in weights)
            loss.backward()
            step.step()
            losses.append(loss.item())
        curve.append(np.mean(losses))
    ours = TwoLayerClassifier(
        HIDDEN, optimizer=optimizer, learning_rate=rate, reg=reg, batch_size=batch_size, epochs=EPOCHS, shuffle=False
    ).fit(X, y, initial_params=params)
    assert ours.loss_curve_[-1] < 0.8 * ours.loss_curve_[0]
    assert np.abs(np.subtract(ours.loss_curve_, curve)).max() <= 1e-9


def shipped(name):
    """Training and test rows of a shipped csv.gz, a part of the training rows where there are many."""
    parts = []
    for part in ("train", "test"):
        with gzip.open(DATA / f"{name}-{part}.csv.gz", "rt") as file:
            cells = np.loadtxt(file, delimiter=",", skiprows=1, dtype=str)
        parts += [cells[:, :-1].astype(np.float32), cells[:, -1]]
    X, y, X_test, y_test = parts
    return X[:4000], X_test, y[:4000], y_test


DATASETS = {
    "optdigits": lambda: shipped("optdigits"),
    "letter": lambda: shipped("letter"),
    "iris": lambda: train_test_split(*load_iris(return_X_y=True), test_size=0.4, random_state=0),
    "wine": lambda: train_test_split(*load_wine(return_X_y=True), test_size=0.4, random_state=0),
    "breast cancer": lambda: train_test_split(*load_breast_cancer(return_X_y=True), test_size=0.4, random_state=0),
}


@pytest.mark.parametrize("name", DATASETS)
def test_accuracy_is_not_below_mlpclassifiers_by_more_than_the_spread(name):
    X, X_test, y, y_test = DATASETS[name]()
    scaler = StandardScaler().fit(X)
    X, X_test = scaler.transform(X), scaler.transform(X_test)
    epochs, batch_size, reg, rate = 8, 50, 1e-3, 0.02
    ours, theirs = [], []
    for seed in range(5):
        model = TwoLayerClassifier(64, init="xavier", optimizer="nesterov", learning_rate=rate, reg=reg, epochs=epochs)
        ours.append(model.set_params(batch_size=batch_size, random_state=seed).fit(X, y).score(X_test, y_test))
        peer = MLPClassifier(
            (64,), solver="sgd", learning_rate_init=rate, alpha=reg * batch_size, max_iter=epochs, tol=0
        )
        with pytest.warns(ConvergenceWarning):
            peer.set_params(batch_size=batch_size, random_state=seed).fit(X, y)
        theirs.append(peer.score(X_test, y_test))
    spread = np.std(ours, ddof=1) + np.std(theirs, ddof=1)
    assert np.mean(ours) >= np.mean(theirs) - spread, (ours, theirs)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_training_continued_from_an_mlpclassifier_starts_at_its_loss():
    X, y = problem()
    theirs = mlp(ROWS, 0.0, solver="sgd").fit(X, y)
    ours = TwoLayerClassifier(HIDDEN, epochs=1, batch_size=ROWS).fit(X, y, initial_params=params_from_mlp(theirs))
    P = theirs.predict_proba(X)[np.arange(ROWS), y]
    assert np.isclose(ours.loss_curve_[0], -np.log(P).mean(), rtol=1e-12)
