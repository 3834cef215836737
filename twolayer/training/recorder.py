"""What a training writes into its run folder: while it runs, the rows of the logs, checkpoints by the clock, pictures,
snapshots; at its end, from the best parameters, predictions, the summary, the verdicts and the picture."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.config import Config, by_dotted_key
from twolayer.data import Dataset
from twolayer.network.model import Array, Params
from twolayer.runs.checkpoint import packed, read_model_arrays, write_arrays
from twolayer.runs.folder import RunFolder
from twolayer.runs.logs import HISTORY_COLUMNS, HistoryLog, StepsLog, read_history
from twolayer.solver.metrics import Evaluator, probabilities
from twolayer.solver.solver import Solver
from twolayer.solver.state import Chunk
from twolayer.utils.blas import at_most_threads
from twolayer.utils.errors import RunError
from twolayer.utils.files import write_atomically, write_json
from twolayer.views.curves import RedrawBudget, draw_loss_curve
from twolayer.views.diagnosis import Verdict, diagnose
from twolayer.views.run_data import RunData

FREE_KEYS = {"run.dir", "run.checkpoint_seconds", "run.redraw_seconds", "run.snapshot_epochs"}


def model_file(solver: Solver, dataset: Dataset, refitted: Params | None = None) -> bytes:
    """Return best.npz: the best parameters so far, or the refitted ones, and all it takes to predict from raw rows."""
    best, preparation = solver.progress.best, dataset.preparation
    header: dict[str, Any] = {"kind": "model", "epoch": best.epoch, "step": best.step}
    header |= {"monitor": best.monitor, "value": best.value, "preparation": preparation.to_header()}
    if refitted is not None:
        header["refit"] = _refit_facts(solver, dataset)
    params = solver.best_params if refitted is None else refitted
    return packed({**params.named(), **preparation.to_arrays()}, header)


def _refit_facts(solver: Solver, dataset: Dataset) -> dict[str, int]:
    """Return on how many rows and for how many epochs a refit trains."""
    rows = sum(len(part.y) for part in (dataset.train, dataset.validation) if part is not None)
    return {"rows": rows, "epochs": solver.progress.best.epoch}


def refit_in(best: Path, solver: Solver, dataset: Dataset) -> Params | None:
    """Return the parameters in best.npz if they are the refitted ones of this run, whose training has ended; raise
    RunError if the file is missing or damaged."""
    arrays, header = read_model_arrays(best, kinds=("model",))
    params = Params(arrays.get("W1"), arrays.get("b1"), arrays["W2"], arrays["b2"])
    same = params.sizes == solver.params.sizes and header.get("refit") == _refit_facts(solver, dataset)
    return params if same and solver.finished else None


def settings_of(config: Config) -> dict[str, Any]:
    """Return what makes a config's run the one it is, by dotted key, as JSON has it; not the files that the rows come
    from, which may move: their digests are kept with the run."""
    settings = by_dotted_key(config.model_dump(mode="json"))
    for key in FREE_KEYS | {"data.train", "data.validation", "data.test"}:
        value = settings.get(key)
        if key in FREE_KEYS or isinstance(value, str) or (isinstance(value, dict) and "features" in value):
            settings.pop(key, None)
    return settings


def checkpoint_file(
    solver: Solver, config: Config, digests: Mapping[str, str], history_rows: int = 0, steps_rows: int = 0
) -> bytes:
    """Return last.npz: all that the training needs to resume, with its settings, the SHA-256 of its data files (by
    path) and the length of its logs."""
    header = {"kind": "checkpoint", "settings": settings_of(config), "data": sorted(digests.values())}
    header |= solver.state_header()
    return packed(solver.state_arrays(), {**header, "history_rows": history_rows, "steps_rows": steps_rows})


class Recorder:
    """Writes what the solver reports into the run folder; a context manager."""

    def __init__(
        self, folder: RunFolder, solver: Solver, config: Config, dataset: Dataset, logged: Mapping[str, int]
    ) -> None:
        """`folder` is locked by the caller; `logged` is what a checkpoint says of the logs: `logs.logged_rows`."""
        self._folder, self._solver, self._config, self._dataset = folder, solver, config, dataset
        with ExitStack() as opened:
            step = solver.progress.step
            self._history = opened.enter_context(closing(HistoryLog(folder.history, step, logged["history_rows"])))
            self._steps = opened.enter_context(closing(StepsLog(folder.steps, step, logged["steps_rows"])))
            columns = read_history(folder.history)
            if solver.progress.step == 0:
                self._snapshot()
            self._logs = opened.pop_all()
        self.columns: dict[str, list[float]] = {name: list(columns[name]) for name in HISTORY_COLUMNS}
        self._seconds_before = self._seconds
        self._started = self._saved_at = time.perf_counter()
        self._saved_best_epoch = solver.progress.best.epoch
        self._redraw = RedrawBudget(config.run.redraw_seconds)
        self.notices: tuple[str, ...] = ()  # errors that did no harm to the run

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._logs.close()
        except RunError:
            if error is None:
                raise  # otherwise it is the same error again, and the first one says more

    @property
    def _seconds(self) -> float:
        """Training time up to the last epoch."""
        return self.columns["seconds"][-1] if self.columns["seconds"] else 0.0

    def record(self, chunk: Chunk) -> None:
        """Log what the solver yielded; save when it is time."""
        figures = zip(chunk.rates.tolist(), chunk.losses.tolist(), strict=True)
        for step, (rate, loss) in enumerate(figures, start=chunk.first_step):
            if StepsLog.keeps(step) and not math.isnan(loss):
                self._steps.append({"step": step, "epoch": chunk.epoch, "learning_rate": rate, "loss": loss})
        if chunk.record is not None:
            row = {**chunk.record, "seconds": self._seconds_before + time.perf_counter() - self._started}
            self._history.append(row)
            for name, value in row.items():
                self.columns[name].append(np.nan if value is None else value)
            every = self._config.run.snapshot_epochs
            if every is not None and self._solver.progress.epoch % every == 0:
                self._snapshot()
            self._redraw.offer(self.draw)
        if time.perf_counter() - self._saved_at >= self._config.run.checkpoint_seconds:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Save the run as it is, logs first: they must never be shorter than the checkpoint says. A state that has
        overflowed is not saved: the next step will find that the training diverges."""
        if not self._solver.state.is_finite():
            return
        self._history.sync()
        self._steps.sync()
        if self._solver.progress.best.epoch != self._saved_best_epoch:
            self.save_best()
        digests, rows = self._dataset.digests, (self._history.rows, self._steps.rows)
        content = checkpoint_file(self._solver, self._config, digests, *rows)
        write_atomically(self._folder.last, content)
        self._saved_at = time.perf_counter()

    def save_best(self, refitted: Params | None = None) -> None:
        """Write best.npz."""
        write_atomically(self._folder.best, model_file(self._solver, self._dataset, refitted))
        self._saved_best_epoch = self._solver.progress.best.epoch

    def draw(self) -> None:
        """Draw loss_curve.png from the epochs so far; a picture that cannot be drawn is no reason to lose a run."""
        best_epoch = self._solver.progress.best.epoch or None
        try:
            draw_loss_curve(self.columns, self._folder.loss_curve, best_epoch, title=self._folder.path.name)
            self.notices = ()
        except Exception as error:  # of whatever kind, matplotlib's own among them
            kind = "" if isinstance(error, RunError | OSError) else f"{type(error).__name__}: "
            first_line = str(error).partition("\n")[0]
            self.notices = (f"the loss curve could not be drawn: {kind}{first_line}",)

    def _snapshot(self) -> None:
        if self._config.run.snapshot_epochs is None:
            return
        epoch, preparation = self._solver.progress.epoch, self._dataset.preparation
        arrays: dict[str, Array] = {**self._solver.params.named(), **preparation.to_arrays()}
        header = {"kind": "snapshot", "epoch": epoch, "preparation": preparation.to_header()}
        self._folder.write_snapshot(epoch, packed(arrays, header))

    def conclude(self, status: str, refitted: Params | None) -> tuple[dict[str, Any], tuple[Verdict, ...]]:
        """Write best.npz, predictions.npz, loss_curve.png and summary.json; return the summary and what the curves say.
        Refitted parameters are the model in place of the best ones. They have seen the validation rows, so what is said
        of those remains that of the best parameters before the refit."""
        dataset, solver, folder = self._dataset, self._solver, self._folder
        best, classes = solver.progress.best, dataset.classes
        refit = {} if refitted is None else _refit_facts(solver, dataset)
        self.save_best(refitted)
        with at_most_threads(solver.threads):  # as in training: the last digits are then those of the history
            predictions, figures = _judged(dataset, solver, refitted)
        summary = {
            "status": status,
            "best_epoch": best.epoch,
            "epochs": solver.progress.epoch,
            "steps": solver.progress.step,
            "seconds": self._seconds,
            **figures,
            "monitor": best.monitor,
            "refit_rows": refit.get("rows"),
            "refit_epochs": refit.get("epochs"),
            "n_train": len(dataset.train.y),
            "n_validation": len(dataset.validation.y) if dataset.validation else 0,
            "n_test": len(dataset.test.y) if dataset.test else 0,
            "n_features": dataset.n_features,
            "n_hidden": solver.params.n_hidden,
            "n_classes": solver.params.n_classes,
        }
        write_arrays(folder.predictions, predictions, {"kind": "predictions", "classes": list(classes)})
        self.draw()
        write_json(folder.summary, summary)  # last: what it says of an end is only said when all else is there
        history = {name: np.array(column) for name, column in self.columns.items()}
        config = self._config.model_dump()
        run = RunData(folder.path, history, config, predictions=predictions, classes=classes, status=status)
        return summary, diagnose(run)


def _judged(
    dataset: Dataset, solver: Solver, refitted: Params | None
) -> tuple[dict[str, Array], dict[str, float | None]]:
    """Return the predictions on validation and test rows, and the figures of all rows: those of the model, but on
    validation rows those of the best parameters."""
    predictions: dict[str, Array] = {}
    figures: dict[str, float | None] = {}
    parts = (("train", dataset.train), ("validation", dataset.validation), ("test", dataset.test))
    for name, part in parts:
        params = solver.best_params if refitted is None or name == "validation" else refitted
        held_out = name != "train"
        if part and held_out:
            P = probabilities(params, part.X).astype(np.float32)
            predictions |= {f"{name}_rows": part.row_numbers, f"{name}_y": part.y, f"{name}_proba": P}
        result = Evaluator(params, part.X, part.y, by_class=held_out)(params)._asdict() if part else {}
        for figure in ("loss", "accuracy", *(("f1", "balanced_accuracy", "auc") if held_out else ())):
            figures[f"{'val' if name == 'validation' else name}_{figure}"] = result.get(figure)
    return predictions, figures
