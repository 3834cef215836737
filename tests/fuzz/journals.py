"""A sweep's journal.jsonl with other values, damaged or made up: the sweep resumes from it, or refuses it in words."""

from __future__ import annotations

import importlib.util
import itertools
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.campaign import Campaign, SurpriseError, Tally, memory_limit
from tests.fuzz.damage import change
from tests.fuzz.mutate import damaged
from twolayer.sweep.file import Sweep, load_sweep
from twolayer.sweep.points import Journal, Points, ranked
from twolayer.utils.errors import TwoLayerError
from twolayer.utils.randomness import generator

BASE = "data: {train: {generator: spiral}, test: 0.2}\nsolver: {epochs: 3}\n"
POINT = {"point": 0, "values": {"model.hidden": 4, "solver.learning_rate": 0.02}}
SECONDS = 30.0  # the first case that needs them loads more libraries
END = {"run": "0000-seed0", "status": "failed", "reason": "", "seconds": 1.0}
# fmt: off
TOKENS = [b"[" * 5000, b"{", b"}", b"null", b"NaN", b"Infinity", b"1e999", b"9" * 400, b"-1", b'"', b"\n", b"\x00",
          b"\xff", b'"finished"', b'"pruned"', b'"diverged"', b'"..\\/..\\/x"', b'"\\u001b[31m"', b"true",
          b'{"point": 1}']
# fmt: on


def fuzz_journals(campaign: Campaign, scratch: Path, count: int, seed: int) -> Tally:
    """Run the campaign, if Optuna is installed: `count` journals of sweeps with all samplers and pruners."""
    if importlib.util.find_spec("optuna") is None:
        return campaign.tally
    sweeps = _sweeps(scratch)
    with memory_limit():
        for number in range(count):
            sweep, rng = sweeps[number % len(sweeps)], generator(seed, "fuzz", number)
            campaign.case(number, partial(_read, campaign.folder, sweep, rng), SECONDS)
    return campaign.tally


def _sweeps(folder: Path) -> list[Sweep]:
    (folder / "base.yaml").write_text(BASE)
    sweeps = []
    for sampler, pruner in itertools.product(("grid", "random", "tpe"), ("none", "median")):
        rate = "[0.02, 0.1]" if sampler == "grid" else "{log_uniform: [0.01, 0.5]}"
        trials = "" if sampler == "grid" else "trials: 6\n"
        path = folder / f"{sampler}-{pruner}.yaml"
        path.write_text(
            f"base: base.yaml\nspace:\n  model.hidden: [4, 8, 16]\n  solver.learning_rate: {rate}\nsampler: {sampler}\n"
            f"{trials}pruner: {pruner}\nmin_epochs: 1\nworkers: 1\nrefit: false\n"
        )
        sweeps.append(load_sweep(path))
        sweeps[-1].space  # noqa: B018  # Optuna is loaded before anything is watched
        with Journal(folder / "journal.jsonl") as journal:
            Points(sweeps[-1], folder, journal, False).next()
        (folder / "journal.jsonl").unlink()
    return sweeps


def _read(folder: Path, sweep: Sweep, rng: np.random.Generator) -> str:
    path = folder / "journal.jsonl"
    path.write_bytes(_journal(rng))
    (folder / "runs").mkdir()
    try:
        with Journal(path) as journal:
            points = Points(sweep, folder, journal, bool(rng.integers(2)))
            points.restore()
            points.next()
            ranked(sweep, points.all)
            points.study.importances()
    except TwoLayerError as error:
        if str(folder) not in str(error) or not all(line.isprintable() for line in str(error).split("\n")):
            raise SurpriseError(f"a refusal without the file's name, or with control characters: {error!r}") from error
        return "refused"
    return "resumed"


def _journal(rng: np.random.Generator) -> bytes:
    lines: list[Any] = []
    for number in range(int(rng.integers(1, 8))):
        values = {"model.hidden": int(rng.choice([4, 8, 16])), "solver.learning_rate": float(rng.choice([0.02, 0.1]))}
        lines += [{"point": number, "values": values}, {**END, "run": f"{number:04d}-seed0"}]
        lines[-1]["status"] = str(rng.choice(["failed", "diverged", "pruned", "finished"]))
    kind = int(rng.integers(4))
    if kind < 2:
        for _ in range(int(rng.choice([1, 1, 3]))):
            change(lines, rng)
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    return damaged(content, rng, TOKENS) if kind == 2 else content
