"""best.npz and last.npz with a byte flipped or an end cut off, and files forged with a right checksum: each is read as
what it was, or refused with a message."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.fuzz.campaign import TRAIN_SECONDS, Campaign, SurpriseError, Tally, memory_limit
from twolayer.config import config_from_dict
from twolayer.runs.checkpoint import load_model, read_arrays, read_model_arrays, write_arrays
from twolayer.runs.folder import RunFolder
from twolayer.training.run import resume, train
from twolayer.utils.errors import DivergedError, TwoLayerError
from twolayer.utils.randomness import generator

TRUNCATED = 5  # 1 case in 5 is cut short, the others have a byte flipped
VALUES: list[Any] = [None, True, False, 0, 1, -1, 10**6, 10**30, 0.5, -1e300, float("nan"), float("inf"), "", "adam",
                     "x" * 500, [], [1], ["a", "b"], {}, {"a": 1}, [[]]]  # fmt: skip
ROWS = "size,colour,kind\n" + "".join(
    f"{i % 7 or ''},{('red', 'green', 'blue')[i % 3]},{'ab'[i % 2]}\n" for i in range(60)
)


def fuzz_damage(campaign: Campaign, scratch: Path, count: int, forge: int, seed: int) -> Tally:
    """Run the campaign.

    Args:
        campaign: runs the cases.
        scratch: a folder for the good run and its data.
        count: damaged files; one in `TRUNCATED` is cut short.
        forge: files whose header or arrays were changed and whose checksum was computed again.
        seed: of all that is random.
    """
    run = _good_run(scratch)
    originals = {path.name: (path.read_bytes(), *read_arrays(path)) for path in (run.best, run.last)}
    with memory_limit():
        for number in range(count):
            path = (run.best, run.last)[number % 2]
            damage = _cut if number // 2 % TRUNCATED == 0 else _flipped
            content = damage(originals[path.name][0], generator(seed, "fuzz", number))
            campaign.case(number, partial(_damaged, campaign.folder / path.name, content, originals[path.name][1:]))
    for number in range(count, count + forge):
        path = (run.best, run.last)[number % 2]
        rng = generator(seed, "fuzz", number)
        campaign.case(number, partial(_forged, campaign.folder, run, path.name, rng), TRAIN_SECONDS)
    return campaign.tally


def _good_run(scratch: Path) -> RunFolder:
    """Train a short run with all kinds of things: categories, means for missing cells, an optimiser's state."""
    scratch.mkdir(parents=True, exist_ok=True)
    rows = scratch / "rows.csv"
    rows.write_text(ROWS)
    data = {"train": str(rows), "label": "kind", "categorical": ["colour"], "missing": "mean"}
    solver = {"epochs": 2, "optimizer": "adam"}
    config = config_from_dict({"data": data, "model": {"hidden": 5}, "solver": solver})
    train(config, run_dir=scratch / "good")
    return RunFolder(scratch / "good")


def _flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """Change one byte."""
    data = bytearray(content)
    data[rng.integers(len(data))] ^= int(rng.integers(1, 256))
    return bytes(data)


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content)))]


def _damaged(path: Path, content: bytes, original: tuple[dict[str, NDArray[Any]], dict[str, Any]]) -> str:
    path.write_bytes(content)
    try:
        arrays, header = read_model_arrays(path)
        if path.name == "best.npz":
            load_model(path)
    except TwoLayerError as error:
        if not str(error).startswith(str(path)):
            raise SurpriseError(f"a refusal that does not name the file: {error}") from error
        return "refused"
    if header != original[1] or arrays.keys() != original[0].keys():
        raise SurpriseError("another header or other arrays")
    if not all(_same_bits(arrays[name], original[0][name]) for name in arrays):
        raise SurpriseError("other numbers")
    return "read as it was"


def _same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _forged(folder: Path, good: RunFolder, name: str, rng: np.random.Generator) -> str:
    """Forge a whole file that says what no run would say: taken or refused, but never a surprise."""
    run = RunFolder(folder)
    for path in good.path.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    arrays, header = read_arrays(folder / name)
    if rng.integers(3):
        change(header, rng)
    else:
        chosen = sorted(arrays)[rng.integers(len(arrays))]
        arrays[chosen] = _other_array(arrays[chosen], rng)
    header.pop("format", None)
    write_arrays(folder / name, arrays, header)
    try:
        if name == "best.npz":
            load_model(run.best).predict_file(good.path.parent / "rows.csv")
        else:
            resume(folder)
    except DivergedError:
        return "forged and diverged"
    except TwoLayerError:
        return "forged and refused"
    return "forged and taken"


def change(holder: Any, rng: np.random.Generator) -> None:
    """Replace, add or take out one value somewhere in a header."""
    while True:
        keys: list[Any] = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            return  # all was taken out before
        key = keys[rng.integers(len(keys))]
        inner = holder[key]
        if not (isinstance(inner, dict | list) and inner and rng.integers(5)):
            break
        holder = inner
    if rng.integers(6) == 0:
        del holder[key]
    elif isinstance(holder[key], int | float) and rng.integers(2):
        holder[key] = holder[key] + int(rng.integers(-2, 3))
    else:
        holder[key] = VALUES[rng.integers(len(VALUES))]


def _other_array(array: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    choices = [array[:0], array[..., None], array.astype("f4"), array.astype("i8"), array.astype("U3"), array * 0,
               np.full_like(array, np.nan), np.full_like(array, np.finfo(array.dtype).max), array * 1e-300,
               np.concatenate([array, array])]  # fmt: skip
    return choices[rng.integers(len(choices))]
