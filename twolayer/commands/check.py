"""`twolayer check`: is the data what it should be, and do loss, penalty and gradients behave on it?

These are CS231n's sanity checks, before any training: one finding per line, with a verdict; a few seconds at most."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import click
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from twolayer.commands import PATH, complete_keys
from twolayer.config import Config
from twolayer.data import Dataset, load_dataset
from twolayer.data.columns import reading_of
from twolayer.data.dataset import row_hashes
from twolayer.data.profile import guess_table
from twolayer.data.sources import is_table
from twolayer.network.backprop import loss_and_gradients
from twolayer.network.model import Array, Params, forward
from twolayer.reference import REFERENCES
from twolayer.reference.gradcheck import check_gradients
from twolayer.solver.metrics import RowSource
from twolayer.solver.solver import Solver
from twolayer.training.build import initial_params
from twolayer.utils.errors import CheckFailedError, DataError
from twolayer.utils.randomness import generator
from twolayer.utils.text import counted, printable, shown, some

FEW_ROWS = 20
SOME_ROWS = 500  # for the loss at the start
BLOCK_ROWS = 4096
FAR_FROM_LN_C = 0.02  # relative
SMALL_SCORE = 1e-2  # the largest |score| once W2 is scaled down: the loss is then ln C to a fraction of that
MEMORISED_LOSS = 0.01
MOST_EPOCHS = 3000
CONVERGED_GRADIENT = 1e-2
UNSCALED = 10.0  # root mean square of a feature
SHOWN_CLASSES = 12
SHOWN_COLUMNS = 5
PROBED = 40  # entries of each array that differences probe; fewer of a network so large that a loss takes long
PROBED_AT_LEAST = 4
LARGE = 200_000  # weights


class Finding(NamedTuple):
    """The result of one check."""

    verdict: Literal["ok", "note", "FAIL"]  # a note is worth knowing, not a failure
    what: str  # in words, with its numbers; for a failure also what to try

    def __str__(self) -> str:
        return f"{self.verdict:<4}  {printable(self.what)}"


def check_config(config: Config) -> Iterator[Finding]:
    """Yield all findings on a config; data that cannot be read is a DataError. Only twenty rows are trained on, and
    nothing is written."""
    for note in config.notes:
        yield Finding("note", note)
    dataset = load_dataset(**config.data.model_dump(), seed=config.seed, dtype="float64")
    judged = table_findings(config) if is_table(config.data.train) else ()
    yield from dict.fromkeys((*data_findings(dataset), *judged))  # both may name labels that are nearly equal
    rng = generator(config.seed, "check")
    drawn = rng.permutation(len(dataset.train.y))[: 2 * SOME_ROWS]
    X, y = rows_of(dataset.train.X, drawn), np.asarray(dataset.train.y)[drawn]
    distinct = np.sort(np.unique(X, axis=0, return_index=True)[1])[:SOME_ROWS]
    params = initial_params(config, dataset, np.float64)
    yield from network_findings(params, X[distinct], y[distinct], config.solver.reg, rng)


def table_findings(config: Config) -> Iterator[Finding]:
    """Yield findings on the columns of the training table, as `init` judges them: label, leaks, unfit features."""
    data = config.data
    reading = reading_of(data.missing_values, data.header, data.separator, data.decimal, data.encoding)
    try:
        guess = guess_table(data.train, str(data.label), reading=reading)
    except DataError as error:
        yield Finding("note", str(error))
        return
    label, first = guess.label, next(iter(guess.candidates), None)
    likely = "; ".join(f"{shown(each.name)} ({each.signs})" for each in guess.candidates[:3])
    if label is first or not likely:
        yield Finding("ok", f"the label is {shown(label.name)}, the likeliest column")
    else:
        words = f"the label is {shown(label.name)}; the likeliest columns: {likely}"
        yield Finding("note" if guess.is_clear else "ok", words)
    ignored, width = {*data.ignore}, len(guess.columns)
    unfit = [
        f"column {shown(profile.name)}: {profile.why}; data.ignore leaves it out"
        for profile in guess.of("ignore")
        if not ignored & {profile.name, profile.position, profile.position - width}
    ]
    if len(unfit) > SHOWN_COLUMNS:
        unfit[SHOWN_COLUMNS:] = [f"{len(unfit) - SHOWN_COLUMNS:,} more columns that data.ignore could leave out"]
    yield from (Finding("note", words) for words in (*guess.quantities, *guess.warnings, *unfit))


def data_findings(dataset: Dataset) -> Iterator[Finding]:
    """Yield findings on rows, classes, ranges, constant features, and rows that occur in more than one part."""
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    sizes = ", ".join(f"{len(part.y):,} {name}" for name, part in parts.items() if part)
    shape = f"{counted(dataset.n_features, 'feature')}, {counted(len(dataset.classes), 'class')}"
    yield Finding("ok", f"rows: {sizes}; {shape}")
    yield from (Finding("note", note) for note in dataset.notes)
    y, names = dataset.train.y, dataset.preparation.feature_names
    counts = np.bincount(y)
    pairs = [f"{label}: {count:,}" for label, count in zip(dataset.classes, counts, strict=True)]
    words = ", ".join(pairs[:SHOWN_CLASSES]) + (", ..." if len(pairs) > SHOWN_CLASSES else "")
    if counts.max() > 10 * counts.min():
        yield Finding("note", f"classes are imbalanced ({words}); see solver.class_weight=balanced")
    else:
        yield Finding("ok", f"training rows by class: {words}")
    low, high, rms, hashes = scan(dataset.train.X)
    words = f"features as the model gets them run from {low.min():.4g} to {high.max():.4g}"
    k = int(rms.argmax())  # standardised, the root mean squares are 1
    if rms[k] > UNSCALED:
        yield Finding("note", f"{words}; {names[k]} is of order {rms[k]:.3g}: try data.scale=standardize")
    else:
        yield Finding("ok", words)
    constant = np.flatnonzero(low == high)
    if constant.size:
        which = some([names[k] for k in constant], SHOWN_COLUMNS)
        yield Finding("note", f"features that are constant over the training rows: {which}")
    known, first, same = np.unique(hashes, return_index=True, return_inverse=True)
    if repeated := len(y) - len(known):
        yield Finding("note", f"training rows that repeat an earlier one: {repeated:,}")
    if contradictory := np.count_nonzero(y != y[first][same]):
        yield Finding("note", f"training rows with the features of an earlier one and another label: {contradictory:,}")
    for name in ("validation", "test"):
        part = parts[name]
        if part and (shared := np.count_nonzero(np.isin(scan(part.X)[-1], known))):
            yield Finding("note", f"{name} rows that are also training rows: {shared:,} of {len(part.y):,}")


def network_findings(params: Params, X: Array, y: Array, reg: float, rng: Generator) -> Iterator[Finding]:
    """Yield findings on loss, penalty and gradients at the start, and on whether a few of the rows can be learned."""
    largest, guessing = float(np.abs(forward(params, X)).max()), math.log(params.n_classes)
    small = params._replace(W2=params.W2 * min(1.0, SMALL_SCORE / max(largest, 1e-300)))  # so that scores are near 0
    loss, drawn = loss_and_gradients(small, X, y, 0.0)[0], loss_and_gradients(params, X, y, 0.0)[0]
    words = f"loss at the start {loss:.4f} with W2 scaled down, ln {params.n_classes} = {guessing:.4f}"
    if not abs(loss - guessing) <= FAR_FROM_LN_C * guessing:
        yield Finding("FAIL", f"{words}: the loss or the scores are wrong")
    elif drawn > 3 * guessing:
        yield Finding("note", f"{words}; but {drawn:.4g} as W2 is drawn: see data.scale, model.init, model.init_std")
    else:
        yield Finding("ok", f"{words}; {drawn:.4f} as W2 is drawn")

    r = reg or 1e-3
    weights = [W for W in (params.W1, params.W2) if W is not None]
    with_reg, rise = loss_and_gradients(params, X, y, r)[0], r / 2 * sum(float(np.square(W).sum()) for W in weights)
    words = f"loss rises from {drawn:.6f} to {with_reg:.6f} with reg {r:g}"
    if abs(with_reg - drawn - rise) <= 1e-6 * rise + 1e-12 * abs(drawn):
        yield Finding("ok", words)
    else:
        yield Finding("FAIL", f"{words}; expected a rise of {rise:.6g}: the penalty is wrong")

    X, y, reference = X[:FEW_ROWS], y[:FEW_ROWS], {"ones vectors": REFERENCES["ones vectors"]}
    probed = max(PROBED_AT_LEAST, min(PROBED, PROBED * LARGE // sum(W.size for W in weights)))
    result = check_gradients(loss_and_gradients, params, X, y, reg, against=reference, max_entries=probed, rng=rng)
    if result.passed:
        worst = max((one.error for one in result.comparisons if not one.only_rounding), default=0.0)
        words = f"gradients on {len(X)} rows agree with differences and a reference"
        yield Finding("ok", f"{words} (largest error {worst:.1e})")
    else:
        yield Finding("FAIL", f"gradients on {len(X)} rows are wrong; 'twolayer gradcheck CONFIG' shows where")
    yield few_rows_memorised(params, X, y)


def few_rows_memorised(params: Params, X: Array, y: Array) -> Finding:
    """Check that the network can memorise a few rows, by Adam without penalty: otherwise it will not learn many.

    Without a hidden layer, rows that no plane separates cannot be memorised: the loss, which is convex, then has to
    reach its lowest value, where the gradient is 0.
    """
    N = len(X)
    solver = Solver(params, X, y, optimizer="adam", learning_rate=0.01, epochs=MOST_EPOCHS, batch_size=N, shuffle=False)
    loss, accuracy, epoch = math.inf, 0.0, 0
    for record in solver:
        loss, accuracy, epoch = record["train_loss"] or 0.0, record["train_accuracy"] or 0.0, int(record["epoch"] or 0)
        if accuracy == 1 and loss < MEMORISED_LOSS:
            return Finding("ok", f"{counted(N, 'row')} memorised in {counted(epoch, 'step')} (loss {loss:.4f})")
    words = f"could not memorise {counted(N, 'row')}: accuracy {accuracy:.2f}, loss {loss:.3g} after {epoch} steps"
    if params.W1 is None:
        gradients = loss_and_gradients(solver.params, X, y)[1]
        norm = math.sqrt(sum(float(np.square(g).sum()) for g in gradients.named().values()))
        if norm < CONVERGED_GRADIENT:
            return Finding("ok", f"{words}, the lowest possible without a hidden layer")
    return Finding("FAIL", f"{words}; try more hidden units, data.scale=standardize, and look at the labels")


def rows_of(X: RowSource, numbers: NDArray[np.intp]) -> Array:
    """Return the model-ready rows (B, D) of these numbers, in float64 as the data was loaded."""
    out = np.empty((len(numbers), X.shape[1]), np.float64)
    X.take(numbers, out)
    return out


def scan(X: RowSource) -> tuple[Array, Array, Array, NDArray[np.int64]]:
    """Return lowest value, highest value and root mean square of each feature, (D,), and a hash of each row, (N,)."""
    N, D = X.shape
    low, high, squares, hashes = np.full(D, np.inf), np.full(D, -np.inf), np.zeros(D), []
    for start in range(0, N, BLOCK_ROWS):
        block = rows_of(X, np.arange(start, min(start + BLOCK_ROWS, N)))
        np.minimum(low, block.min(axis=0), out=low)
        np.maximum(high, block.max(axis=0), out=high)
        squares += np.square(block).sum(axis=0)
        hashes.append(row_hashes(block))
    return low, high, np.sqrt(squares / N), np.concatenate(hashes)


@click.command()
@click.argument("config", type=PATH)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_keys)
def command(config: Path, overrides: tuple[str, ...]) -> None:
    """Check the data of CONFIG and its network before the first step; exit code 1 if a check fails.

    Rows, classes, ranges, rows in both train and test; of a table the label, columns that give it away, identifiers and
    dates as well; the loss at the start against ln C; the penalty; the gradients; whether twenty rows can be memorised.
    One line each: ok, note (worth knowing) or FAIL.

    \b
    twolayer check configs/optdigits.yaml
    twolayer check configs/optdigits.yaml data.scale=none
    """
    from twolayer.config import load_config

    failed = 0
    for finding in check_config(load_config(config, overrides)):
        click.echo(str(finding))
        failed += finding.verdict == "FAIL"
    if failed:
        raise CheckFailedError(f"{counted(failed, 'check')} failed")
