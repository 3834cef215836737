"""Disk full at every write of a short run in turn: a message, and the run resumes to the same end."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

from tests.fuzz.campaign import TRAIN_SECONDS, Campaign, SurpriseError, Tally
from tests.fuzz.full_disk import FullDisk, using_disk
from twolayer.commands.verify_resume import differences
from twolayer.config import config_from_dict
from twolayer.runs.checkpoint import load_model
from twolayer.runs.folder import RunFolder
from twolayer.training.run import resume, train
from twolayer.utils.errors import RunError

CONFIG: dict[str, Any] = {
    "data": {"train": {"generator": "spiral", "rows_per_class": 10}, "validation": 0.2},
    "model": {"hidden": 4},
    "solver": {"epochs": 2, "optimizer": "adam", "batch_size": 8},
    "run": {"checkpoint_seconds": 0, "snapshot_epochs": 1},
}


def fuzz_disk(campaign: Campaign, scratch: Path, every: int = 1) -> Tally:
    """Run the campaign: one case for every operation on the disk (or every `every`-th) that the run makes.

    Args:
        campaign: runs the cases.
        scratch: a folder for the run that nothing stops.
        every: 1 for all operations, 2 for every second one, ...
    """
    straight = RunFolder(scratch / "straight")
    with using_disk(FullDisk(math.inf)) as disk:
        train(config_from_dict(CONFIG), run_dir=straight.path)
    assert isinstance(disk, FullDisk)
    for fail_at in range(1, disk.count + 1, every):
        campaign.case(fail_at, partial(_full_at, fail_at, campaign.folder / "run", straight), TRAIN_SECONDS)
    return campaign.tally


def _full_at(fail_at: int, run_dir: Path, straight: RunFolder) -> str:
    run, word = RunFolder(run_dir), "resumed to the same end"
    with using_disk(FullDisk(fail_at)):
        try:
            train(config_from_dict(CONFIG), run_dir=run_dir)
            word = "ended with a note about the picture"
        except RunError as error:
            if "No space left on device" not in str(error):
                raise SurpriseError(f"a message without its reason: {error}") from error
            begun = run_dir.exists() and "the run folder cannot be made" not in str(error)
            if begun and f"--resume {run_dir}" not in str(error):
                raise SurpriseError(f"a message without the way to resume: {error}") from error
    if not run_dir.exists():
        train(config_from_dict(CONFIG), run_dir=run_dir)
        return "left nothing behind, and started again"
    load_model(run_dir)
    resume(run_dir)
    found = list(differences(straight, run))
    if found:
        raise SurpriseError("; ".join(found))
    return word
