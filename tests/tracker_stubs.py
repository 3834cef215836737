"""MLflow, Weights & Biases and trackio as howto/trackers.md calls them: signatures of mlflow 3.17, wandb 0.31 and
trackio 0.43, read with `inspect.signature`, and what they accept. The packages bring 16 to 20 others each."""

from __future__ import annotations

import contextlib
import os
from types import SimpleNamespace

TRACKIO_RENAMES = {"project", "run", "timestamp", "step", "time", "metrics"}


class Tracker:
    """What was logged, as (step, metrics)."""

    def __init__(self):
        self.rows = []

    def take(self, metrics, step):
        assert isinstance(metrics, dict)
        assert all(isinstance(name, str) and isinstance(value, float) for name, value in metrics.items())
        assert type(step) is int
        assert not self.rows or step > self.rows[-1][0]
        self.rows.append((step, metrics))


def mlflow(tracker):
    @contextlib.contextmanager
    def start_run(run_id=None, experiment_id=None, run_name=None, nested=False, parent_run_id=None, tags=None):
        yield

    def log_artifacts(local_dir, artifact_path=None, run_id=None):
        assert "best.npz" in os.listdir(local_dir)

    def log_metrics(metrics, step=None, synchronous=None, run_id=None, timestamp=None, model_id=None, dataset=None):
        tracker.take(metrics, step)

    return SimpleNamespace(start_run=start_run, log_artifacts=log_artifacts, log_metrics=log_metrics)


def wandb(tracker):
    def log(data, step=None, commit=None):
        tracker.take(data, step)

    @contextlib.contextmanager
    def init(entity=None, project=None, dir=None, id=None, name=None, notes=None, tags=None, config=None, mode=None):
        yield SimpleNamespace(log=log)

    return SimpleNamespace(init=init)


def trackio(tracker):
    def init(project, name=None, group=None, space_id=None, server_url=None, dataset_id=None, config=None):
        pass

    def log(metrics, step=None):
        assert not TRACKIO_RENAMES & set(metrics), "trackio renames these"
        tracker.take(metrics, step)

    def finish():
        pass

    return SimpleNamespace(init=init, log=log, finish=finish)
