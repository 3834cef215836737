"""Random SIGKILLs over all optimisers, both engines, early stopping, plateau and class weights: every run that was
killed and resumed must equal the one never stopped."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from functools import partial
from itertools import count as numbers
from pathlib import Path

from tests.fuzz.campaign import Campaign, SurpriseError, Tally
from twolayer.commands.verify_resume import verify_resume
from twolayer.network.optim import OPTIMIZERS
from twolayer.utils.randomness import generator

KILLS = 8  # of one run
SECONDS = 600.0

CONFIG = """
data: {train: {generator: spiral}, validation: 0.2}
model: {hidden: 32}
solver: {learning_rate: 0.01, batch_size: 16, epochs: 1000, monitor: val_loss, reg: 1e-4}
"""
FEATURES = {
    "plateau": ["solver.schedule=plateau", "solver.plateau_patience=8"],
    "early stopping": ["solver.patience=200", "solver.epochs=100000", "run.redraw_seconds=0.2"],
    "class weights": ["solver.class_weight={'0': 3.0, '2': 0.0}", "model.dtype=float64"],
    "all": ["solver.schedule=plateau", "solver.patience=200", "solver.class_weight=balanced",
            "solver.warmup_epochs=2.5", "solver.max_grad_norm=1", "run.snapshot_epochs=200"],
}  # fmt: skip


def fuzz_kills(campaign: Campaign, count: int, seed: int) -> Tally:
    """Run the campaign until `count` kills have hit a run that had begun.

    Args:
        campaign: runs the cases, one for each run that is killed again and again.
        count: how many kills.
        seed: of the moments.
    """
    tally = campaign.tally
    for number, (name, overrides) in zip(numbers(), _settings(), strict=False):
        left = count - tally.counts["kills"]
        if left <= 0:
            break
        case = partial(_killed, campaign, overrides, min(KILLS, left), seed, number)
        campaign.case(number, case, SECONDS, guarded=False)
        tally.counts[f"with {name}"] += 1
    return tally


def _settings() -> Iterator[tuple[str, list[str]]]:
    """Yield all optimisers on all engines, again and again, each time with the next of the features."""
    engines = ["numpy", "numba"] if importlib.util.find_spec("numba") else ["numpy"]
    names = list(FEATURES)
    for turn in numbers():
        for k, optimizer in enumerate(OPTIMIZERS):
            for engine in engines if OPTIMIZERS[optimizer].compiled else ["numpy"]:
                name = names[(turn + k) % len(names)]
                overrides = [f"solver.optimizer={optimizer}", f"solver.engine={engine}", *FEATURES[name]]
                if optimizer in ("sgd", "momentum", "nesterov"):
                    overrides.append("solver.learning_rate=0.05")
                yield f"{engine}, {name}", overrides


def _killed(campaign: Campaign, overrides: list[str], kills: int, seed: int, number: int) -> str:
    config = campaign.folder / "spiral.yaml"
    config.write_text(CONFIG)
    (campaign.folder / "overrides.txt").write_text("\n".join(overrides))
    rng = generator(seed, "fuzz", number)
    mid_run, different = verify_resume(config, overrides, Path(campaign.folder), kills=kills, rng=rng)
    campaign.tally.counts["kills"] += mid_run
    campaign.tally.counts["kills before the run folder or after the end"] += kills - mid_run
    if different:
        raise SurpriseError(f"NOT equal to the run never stopped ({kills} kills): {'; '.join(different)}")
    shutil.rmtree(campaign.folder / "straight")
    return "runs equal"
