"""What may change when a run is resumed: which keys of the config, which data, which machine."""

from collections.abc import Mapping
from typing import Any

from twolayer.config import Config, by_dotted_key, differences
from twolayer.network.schedules import SCHEDULES
from twolayer.runs.environment import differences_that_change_bits
from twolayer.runs.folder import RunFolder
from twolayer.utils.errors import RunError
from twolayer.utils.jsonfile import read_json
from twolayer.utils.text import shown

FREE_KEYS = {"run.dir", "run.checkpoint_seconds", "run.redraw_seconds", "run.snapshot_epochs"}


def settings_of(config: Config) -> dict[str, Any]:
    """Return what makes a config's run the one it is, by dotted key, as JSON has it.

    The files that the rows come from are not among them: their digests are kept with the run, and they may move.
    """
    settings = by_dotted_key(config.model_dump(mode="json"))
    for key in FREE_KEYS | {"data.train", "data.validation", "data.test"}:
        value = settings.get(key)
        if key in FREE_KEYS or isinstance(value, str) or (isinstance(value, dict) and "features" in value):
            settings.pop(key, None)
    return settings


def require_same_run(
    folder: RunFolder,
    checkpoint: Mapping[str, Any],
    stored: Config,
    config: Config,
    environment: Mapping[str, Any],
    *,
    begun: int,
    force: bool,
) -> None:
    """Refuse, by name, what would make another run of it.

    `checkpoint` is the header of its last.npz, which says with what settings it was made; `stored` its config in the
    folder, which may have been edited; `config` and `environment` are those to resume with; `begun` counts the epochs
    begun. `force` allows other versions and threads, never other data or another config.

    Raises:
        RunError: if a key, a data file or, without `force`, the environment would change the run.
    """
    made_with = checkpoint.get("settings")
    if not isinstance(made_with, dict):
        raise RunError(f"{folder.last}: expected a run's checkpoint with the settings it was made with, got none")
    asked = settings_of(config)
    changed = {key: (made_with[key], asked[key]) for key in asked if made_with.get(key, asked[key]) != asked[key]}
    for key, (old, new) in (differences(stored, config) | changed).items():
        if key not in FREE_KEYS:
            _require_more_epochs(folder, key, old, new, stored, begun)
    found = differences_that_change_bits(read_json(folder.environment), environment)
    data = [each for each in found if each.startswith("data:")]
    trained_on = checkpoint.get("data")  # not in checkpoints of 0.1
    if not data and trained_on is not None and trained_on != sorted(environment["data"].values()):
        data = [f"data: {folder.last.name} was trained on other files"]
    if data:
        raise RunError(f"{folder.path}: cannot resume: {'; '.join(data)}. Put the file back, or start a new run")
    if found and not force:
        raise RunError(
            f"{folder.path}: resuming here would not give the bits of a run never stopped: {'; '.join(found)}. "
            "Restore what was there, or accept other last digits with --force"
        )


def _require_more_epochs(folder: RunFolder, key: str, old: Any, new: Any, stored: Config, begun: int) -> None:
    if key != "solver.epochs":
        raise RunError(
            f"{folder.path}: cannot change {key} from {shown(old)} to {new} on resume; only "
            f"{', '.join(sorted(FREE_KEYS))} and solver.epochs may change. Start a new run from its config.yaml instead"
        )
    if SCHEDULES[stored.solver.schedule].has_horizon:
        raise RunError(
            f"{folder.path}: cannot change solver.epochs from {shown(old)} to {new} on resume: the rates of schedule "
            f"'{stored.solver.schedule}' depend on the number of epochs. Start a new run from its config.yaml instead"
        )
    if new < begun:
        raise RunError(f"{folder.path}: solver.epochs: expected at least {begun}, the epoch that has begun, got {new}")
