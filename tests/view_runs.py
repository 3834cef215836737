"""Run folders made up for the tests of the views: what a training would have left, without the training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from twolayer.config import config_from_dict, dump_config
from twolayer.runs.checkpoint import write_arrays
from twolayer.runs.logs import HISTORY_COLUMNS

CONFIG = {
    "seed": 0,
    "data": {"train": "/data/digits.csv", "test": None, "validation": 0.15, "label": "digit", "scale": "standardize"},
    "model": {"hidden": 64, "init": "he", "dtype": "float32"},
    "solver": {
        "optimizer": "momentum",
        "learning_rate": 0.1,
        "reg": 1e-4,
        "batch_size": 64,
        "epochs": 40,
        "class_weight": "none",
        "patience": None,
        "max_grad_norm": None,
    },
    "run": {"dir": "runs", "redraw_seconds": 2.0},
}


def config_with(**changes):
    """CONFIG with `section__key=value` or `seed=value` changed."""
    config = json.loads(json.dumps(CONFIG))
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            config[section][key] = value
        else:
            config[section] = value
    return config


def made_history(epochs=40, noise=0.0, seed=0, **columns):
    """A training that goes well: losses that fall and level off, accuracies that rise; columns replace."""
    e = np.arange(1, epochs + 1, dtype=float)
    t = e / epochs
    jitter = 1 + noise * np.random.default_rng(seed).standard_normal((4, epochs))
    history = {
        "epoch": e,
        "step": e * 50,
        "learning_rate": np.full(epochs, 0.1),
        "train_loss": (1.8 * np.exp(-8 * t) + 0.05) * jitter[0],
        "val_loss": (1.7 * np.exp(-9 * t) + 0.15) * jitter[1],
        "train_accuracy": np.minimum(1, 0.99 - 0.6 * np.exp(-8 * t)) * np.minimum(1, jitter[2]),
        "val_accuracy": np.minimum(1, 0.96 - 0.6 * np.exp(-9 * t)) * np.minimum(1, jitter[3]),
        "val_f1": np.minimum(1, 0.94 - 0.6 * np.exp(-9 * t)),
        "val_balanced_accuracy": np.minimum(1, 0.95 - 0.6 * np.exp(-9 * t)),
        "val_auc": np.full(epochs, np.nan),
        "penalty": 0.01 * t,
        "gradient_norm": np.exp(-t),
        "update_ratio_W1": np.full(epochs, 2e-3),
        "update_ratio_W2": np.full(epochs, 3e-3),
        "weight_norm_W1": 5 + t,
        "weight_norm_W2": 3 + t,
        "dead_share": np.full(epochs, 0.01),
        "activation_min": np.full(epochs, 0.01),
        "activation_median": np.full(epochs, 0.4),
        "activation_max": np.full(epochs, 1.5),
        "seconds": 0.02 * e * (1 + 0.1 * seed),
    }
    return {name: history[name] if name not in columns else np.asarray(columns[name], float) for name in history}


def made_run(folder, *, history=None, summary=None, predictions=None, classes=(), environment=None, ended=True):
    """Writes a run folder, with an empty config, and returns its path; one that has not ended holds no summary."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    for name in ("config.yaml", "last.npz"):
        (folder / name).touch()
    history = made_history() if history is None else history
    lines = [",".join(HISTORY_COLUMNS)]
    for row in zip(*(history[name] for name in HISTORY_COLUMNS), strict=True):
        cells = ["" if np.isnan(value) else repr(float(value)) for value in row]
        cells[:2] = [str(int(row[0])), str(int(row[1]))]
        lines.append(",".join(cells))
    (folder / "history.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    epochs = len(history["epoch"])
    full = {"status": "finished", "best_epoch": epochs, "epochs": epochs, "test_accuracy": 0.95}
    if ended:
        (folder / "summary.json").write_text(json.dumps(full | (summary or {})), encoding="utf-8")
    C = len(classes) or 10
    write_arrays(folder / "best.npz", {"W2": np.ones((4, C)), "b2": np.ones(C)}, {"kind": "model"})
    (folder / "environment.json").write_text(json.dumps(environment or {"python": "3.11"}), encoding="utf-8")
    if predictions is not None:
        write_arrays(folder / "predictions.npz", predictions, {"kind": "predictions", "classes": list(classes)})
    return folder


def made_live_run(folder, *, history=None, steps=(), **changes):
    """A run folder with a config that loads, as `watch` reads it."""
    values = {"data": {"train": {"generator": "spiral"}}}
    for name, value in changes.items():
        section, _, key = name.partition("__")
        values.setdefault(section, {})[key] = value
    path = made_run(folder, history=history)
    (path / "config.yaml").write_text(dump_config(config_from_dict(values)), encoding="utf-8")
    rows = ["step,epoch,learning_rate,loss", *(f"{step},{epoch},0.1,{loss}" for step, epoch, loss in steps)]
    (path / "steps.csv").write_text("\n".join(rows) + "\n")
    return path
