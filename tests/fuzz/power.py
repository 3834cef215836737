"""A power cut at every operation of a short run in turn: all that was not flushed to the device is lost, and the run
resumes to the same end."""

from __future__ import annotations

import math
import os
from functools import partial
from pathlib import Path

from tests.fuzz.campaign import TRAIN_SECONDS, Campaign, SurpriseError, Tally
from tests.fuzz.disk import CONFIG
from tests.fuzz.full_disk import InterceptedDisk, using_disk
from twolayer.commands.verify_resume import differences
from twolayer.config import config_from_dict
from twolayer.runs.checkpoint import load_model, read_model_arrays
from twolayer.runs.folder import SNAPSHOTS, RunFolder
from twolayer.training.run import resume, train
from twolayer.utils import files


class PowerCutError(BaseException):
    """The machine has no power; no handler of ordinary exceptions may swallow it."""


class _File:
    device = b""  # its bytes at its last flush


class _Folder:
    def __init__(self) -> None:
        self.live: dict[str, _File | _Folder] = {}  # entries that processes see
        self.device: dict[str, _File | _Folder] = {}  # entries at its last flush


class PowerCutDisk(InterceptedDisk):
    """Write below `root` as usual, keeps account of what has reached the device, and loses power at an operation."""

    def __init__(self, root: Path, fail_at: float) -> None:
        super().__init__(fail_at)
        self._root, self._tree = root, _Folder()
        self._open: dict[int, tuple[Path, _File]] = {}

    def fail(self) -> None:
        raise PowerCutError

    def open(self, path: Path, how: int) -> int:
        descriptor, node = super().open(path, how), self._folder(path.parent).live.setdefault(path.name, _File())
        assert isinstance(node, _File)
        self._open[descriptor] = (path, node)
        return descriptor

    def sync(self, descriptor: int) -> None:
        super().sync(descriptor)
        path, node = self._open[descriptor]
        node.device = path.read_bytes()

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        folder = self._folder(path)
        folder.device = dict(folder.live)

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        self._folder(target.parent).live[target.name] = self._folder(source.parent).live.pop(source.name)

    def rename_folder(self, source: Path, target: Path) -> None:
        super().rename_folder(source, target)
        self._folder(target.parent).live[target.name] = self._folder(source.parent).live.pop(source.name)

    def make_folder(self, path: Path) -> None:
        super().make_folder(path)
        self._folder(path.parent).live[path.name] = _Folder()

    def remove(self, path: Path) -> None:
        super().remove(path)
        self._folder(path.parent).live.pop(path.name)

    def restore(self, target: Path, *, names_survive: bool) -> None:
        """Write what is on the device into the new folder `target`.

        Args:
            target: must not exist.
            names_survive: take all names, as of a journaling file system that has lost bytes; else the flushed ones.
        """

        def write(folder: _Folder, path: Path) -> None:
            path.mkdir()
            for name, node in (folder.live if names_survive else folder.device).items():
                if isinstance(node, _Folder):
                    write(node, path / name)
                else:
                    (path / name).write_bytes(node.device)

        write(self._tree, target)

    def _folder(self, path: Path) -> _Folder:
        folder = self._tree
        for name in Path(os.path.relpath(path, self._root)).parts:
            entry = folder.live[name]
            assert isinstance(entry, _Folder)
            folder = entry
        return folder


def fuzz_power(campaign: Campaign, scratch: Path, every: int = 1) -> Tally:
    """Run the campaign: a power cut at every operation on the disk (or every `every`-th) of a run that is interrupted
    and resumed.

    Args:
        campaign: runs the cases.
        scratch: a folder for the run that nothing stops.
        every: 1 for all operations, 2 for every second one, ...
    """
    straight = RunFolder(scratch / "straight")
    train(config_from_dict(CONFIG), run_dir=straight.path)
    (scratch / "whole").mkdir(parents=True)
    counting = PowerCutDisk(scratch / "whole", math.inf)
    _train_and_resume(counting, scratch / "whole")
    for fail_at in range(1, counting.count + 1, every):
        for names_survive in (False, True):
            case = partial(_cut_at, fail_at, names_survive, campaign.folder, straight)
            campaign.case(2 * fail_at + names_survive, case, TRAIN_SECONDS)
    return campaign.tally


def _train_and_resume(disk: files.Disk, folder: Path) -> None:
    with using_disk(disk):
        run = folder / "runs" / "run"
        train(config_from_dict(CONFIG), run_dir=run, stop=lambda record: record["epoch"] == 1)
        resume(run)


def _cut_at(fail_at: int, names_survive: bool, folder: Path, straight: RunFolder) -> str:
    (folder / "before").mkdir()
    disk = PowerCutDisk(folder / "before", fail_at)
    try:
        _train_and_resume(disk, folder / "before")
        raise SurpriseError("the power was never cut")
    except PowerCutError:
        disk.restore(folder / "after", names_survive=names_survive)
    lost = "bytes lost" if names_survive else "bytes and names lost"
    run = RunFolder(folder / "after" / "runs" / "run")
    if not run.path.exists():
        return f"{lost}: no run yet"
    _require_whole(run)
    resume(run.path)
    if found := list(differences(straight, run)):
        raise SurpriseError("; ".join(found))
    return f"{lost}: resumed to the same end"


def _require_whole(run: RunFolder) -> None:
    """Raise an error if the model, a snapshot or the picture is not whole."""
    load_model(run.path)
    for snapshot in sorted(run.snapshots.glob(SNAPSHOTS)):
        read_model_arrays(snapshot, kinds=("snapshot",))
    if run.loss_curve.exists() and b"IEND" not in run.loss_curve.read_bytes()[-12:]:
        raise SurpriseError("the picture is not whole")
