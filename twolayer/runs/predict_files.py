"""Predictions for many files, or for files larger than memory, by a pool of workers: one answer file per input, written
whole or not at all; started again, it skips the inputs and the pieces that are done.

On a cluster the pieces and the model travel to the workers, so that no file system has to be shared."""

import csv
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from twolayer.data.columns import safe_text
from twolayer.data.files import Piece, cut, piece_file
from twolayer.runs.checkpoint import Model, load_model
from twolayer.runs.folder import RunFolder, folder_lock
from twolayer.utils import files
from twolayer.utils.errors import TwoLayerError
from twolayer.utils.files import CANNOT_READ, explained, held, read_whole, write_atomically
from twolayer.utils.process import StopRequest, Tally
from twolayer.utils.text import counted
from twolayer.utils.workers.cluster import ClusterAddress, ClusterPool
from twolayer.utils.workers.pool import Ask, Job, JobResult, LocalPool, Pool, UnusableWorkerError

POLL_SECONDS = 0.5
MAX_NOTES = 20  # of all inputs together


@dataclass
class FilesResult:
    """What `predict_files` did."""

    answers: list[Path] = field(default_factory=list)  # of all inputs that have one, in the order of the inputs
    skipped: int = 0  # number of answers that were there before
    errors: list[str] = field(default_factory=list)  # one message per input without an answer
    notes: list[str] = field(default_factory=list)  # what to know about the inputs
    signal_number: int | None = None  # the signal that interrupted it


@dataclass
class _Input:
    """An input that is not done: its pieces, those without an answer, and the folder of the answers so far."""

    path: Path
    answer: Path
    identity: dict[str, Any]  # of which input, model and options the answer is
    pieces: Sequence[Piece]
    parts: Path
    missing: set[int]

    def part(self, number: int) -> Path:
        return self.parts / f"{number:06d}.csv"


def answer_rows(
    model: Model,
    path: Path,
    notes: list[str],
    *,
    proba: bool = False,
    keep: Sequence[str] = (),
    keep_ids: bool = False,
    safe_csv: bool = False,
) -> Iterator[list[Any]]:
    """Yield the header and the rows of a file's answer: kept columns, the label, and all probabilities with `proba`.

    The options are those of `twolayer predict`: `keep` are names of columns, or `all`; `keep_ids` keeps those of the
    columns that training ignored and that are called like identifiers. `notes` gets what to know about the file.

    Raises:
        DataError: for any error in the file, before the header.
    """
    from twolayer.data.table import read_columns  # pyarrow is for tables alone

    predicted, P = model.predict_rows(path, notes)
    form = model.preparation.form
    kept = read_columns(path, form, keep) if keep else {}
    if keep_ids and form and form.identifiers:
        kept = read_columns(path, form, form.identifiers, optional=True)

    def title(name: str) -> str:
        while name in kept:
            name = f"predicted {name}"
        return name

    shown: Callable[[Any], Any] = safe_text if safe_csv else lambda cell: cell
    yield [*map(shown, kept), title("label"), *(title(f"p({each})") for each in model.classes if proba)]
    classes = [shown(each) for each in model.classes]
    columns = [map(shown, column) for column in kept.values()]
    labels = (classes[index] for index in predicted.tolist())
    yield from map(list, zip(*columns, labels, *(P.T.tolist() if proba else ()), strict=True))


def predict_files(
    model_path: Path,
    inputs: Sequence[Path],
    folder: Path,
    *,
    options: Mapping[str, Any],
    workers: int = 1,
    threads: int = 1,
    cluster: ClusterAddress | None = None,
    quiet: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> FilesResult:
    """Predict the rows of files by a run folder or an .npz file; the answers of `NAME.csv` are in `folder/NAME.csv`.

    Args:
        options: keywords of `answer_rows`, as JSON has them.
        workers, threads: processes on this machine, and BLAS threads of each.
        cluster: a Dask scheduler in place of processes; `say` is called with a line for each event there.

    Raises:
        RunError: if the model cannot be read, or the folder is in use or cannot be written.
        TwoLayerError: if two inputs have the same answer file, or an answer would replace an input.
    """
    answers = answer_paths(inputs, folder)
    model = load_model(model_path)
    file = RunFolder(model_path).best if model_path.is_dir() else model_path
    with explained(folder, "the folder of the answers cannot be made"):
        folder.mkdir(parents=True, exist_ok=True)
    with folder_lock(folder):
        pool: Pool
        pool = LocalPool(workers, threads, folder) if cluster is None else ClusterPool(cluster, None, threads, say)
        with closing(pool):
            return _Work(model, file, answers, options, travels=cluster is not None).run(pool, quiet)


def answer_paths(inputs: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Return the answer file of each input; raise TwoLayerError if two are the same, or one is an input."""
    answers: dict[Path, Path] = {}
    owners: dict[Path, Path] = {}
    real = {os.path.realpath(path) for path in inputs}
    for path in inputs:
        stem = path.name.removesuffix(".gz")
        answer = answers[path] = folder / f"{stem.rpartition('.')[0] or stem}.csv"
        if (twin := owners.setdefault(answer, path)) != path:
            raise TwoLayerError(f"{path}: its answer file {answer} is also that of {twin}; rename one of them")
        if os.path.realpath(answer) in real:
            raise TwoLayerError(f"{path}: its answer file {answer} is an input; choose another folder with -o")
    return answers


class _Work:
    """All inputs of one call: hands out the pieces, puts the answers together."""

    def __init__(
        self, model: Model, file: Path, answers: Mapping[Path, Path], options: Mapping[str, Any], travels: bool
    ) -> None:
        self._file, self._answers, self._options, self._travels = file, answers, dict(options), travels
        with explained(file, CANNOT_READ):
            self._content = read_whole(file, follow=True)
        form = model.preparation.form
        reading = getattr(form, "reading", None)
        self._format: dict[str, Any] = {
            "has_header": bool(form and form.names) or getattr(reading, "header", None) is True,
            "encoding": getattr(reading, "encoding", "utf-8"),
        }
        self._pieces: dict[str, tuple[_Input, int]] = {}  # by job
        self._result, self._failed = FilesResult(), set[Path]()

    def run(self, pool: Pool, quiet: bool) -> FilesResult:
        jobs, result = self._jobs(), self._result
        with StopRequest() as stop, Tally(None, 0, "piece", quiet=quiet) as tally:
            while stop.signal_number is None:
                free = pool.free()
                for job in islice(jobs, free):
                    pool.submit(job)
                if free and not self._pieces:  # none was left
                    break
                for ended in pool.wait(POLL_SECONDS):
                    self._take(ended)
                    tally.done(ended.job.name, f"{len(result.answers)} of {counted(len(self._answers), 'file')}")
            if stop.signal_number is not None:
                pool.stop()
        result.signal_number = stop.signal_number
        done = set(result.answers)
        result.answers = [answer for answer in self._answers.values() if answer in done]
        return result

    def _jobs(self) -> Iterator[Job]:
        """Yield a job for each piece without an answer; what can be skipped is found on the way."""
        identity = {"model": sha256(self._content).hexdigest(), "options": self._options}
        for path, answer in self._answers.items():
            try:
                with explained(path, CANNOT_READ):
                    pieces, digest = cut(path, **self._format)
                whole = {"input": digest, **identity}
                done = None
                with suppress(TwoLayerError, OSError):
                    done = files.read_json(_record(answer)) == {**whole, "answer": files.sha256_of(answer)}
                if done:
                    self._result.answers.append(answer)
                    self._result.skipped += 1
                    continue
                key = sha256(json.dumps([whole, pieces]).encode()).hexdigest()[:16]
                parts = answer.with_name(f".{answer.name}.{key}.parts")
                with explained(parts):
                    files.require_regular(parts, folder=True)
                    parts.mkdir(exist_ok=True)
                each = _Input(path, answer, whole, pieces, parts, set())
                each.missing = {i for i in range(len(each.pieces)) if not each.part(i).is_file()}
                if not each.missing:
                    self._finish(each)
                for number in sorted(each.missing):
                    if path not in self._failed:
                        yield self._job(each, number)
            except TwoLayerError as error:
                self._fail(path, str(error))

    def _job(self, each: _Input, number: int) -> Job:
        piece = each.pieces[number]
        arguments = {"source": str(each.path), "piece": piece, "number": number, "options": self._options}
        if self._travels:
            with explained(each.path, CANNOT_READ), tempfile.TemporaryDirectory(prefix="twolayer-") as scratch:
                content = read_whole(piece_file(each.path, piece, Path(scratch)), follow=True)
            arguments |= {"content": content, "model": self._content}
        else:
            arguments |= {"part": str(each.part(number)), "model": str(self._file.absolute())}
        name = f"{each.path}" if len(each.pieces) == 1 else f"{each.path} {number + 1}/{len(each.pieces)}"
        self._pieces[name] = (each, number)
        return Job(name, f"{__name__}:{answer_piece.__name__}", arguments)

    def _take(self, ended: JobResult) -> None:
        each, number = self._pieces.pop(ended.job.name)
        if ended.error:
            self._fail(each.path, ended.error)
        if ended.stopped or each.path in self._failed:
            return
        notes, content = ended.value
        if content is not None:
            _write_part(each.part(number), content)
        new = [note for note in notes if note not in self._result.notes]
        self._result.notes += new[: max(0, MAX_NOTES - len(self._result.notes))]
        each.missing.discard(number)
        if not each.missing:
            self._finish(each)

    def _fail(self, path: Path, error: str) -> None:
        if path not in self._failed:
            self._failed.add(path)
            older = f"; {self._answers[path]} is of an earlier run" if self._answers[path].exists() else ""
            self._result.errors.append(error + older)

    def _finish(self, each: _Input) -> None:
        with explained(each.answer, CANNOT_READ), held(each.parts):
            write_atomically(each.answer, (read_whole(each.part(number)) for number in range(len(each.pieces))))
            files.write_json(_record(each.answer), {**each.identity, "answer": files.sha256_of(each.answer)})
        shutil.rmtree(each.parts, ignore_errors=True)
        self._result.answers.append(each.answer)


def _write_part(part: Path, content: bytes) -> None:
    with explained(part), held(part.parent):
        write_atomically(part, content)


def _record(answer: Path) -> Path:
    return answer.with_name(f".{answer.name}.json")  # of which input, model and options the answer is


@lru_cache(maxsize=2)
def _model(source: str | bytes) -> Model:
    """Return the model of a path or of a file's content."""
    if isinstance(source, str):
        return load_model(source)
    with tempfile.TemporaryDirectory(prefix="twolayer-") as scratch:
        path = Path(scratch) / "model.npz"
        path.write_bytes(source)
        return load_model(path)


def answer_piece(
    ask: Ask,
    model: str | bytes,
    source: str,
    piece: list[int],
    number: int,
    options: dict[str, Any],
    content: bytes | None = None,
    part: str | None = None,
) -> tuple[list[str], bytes | None]:
    """Predict piece `number` of a source on a worker; return notes and the CSV of its answer, the first with a header.

    On a cluster `content` is a file with just the piece's rows and `model` the content of a model; on this machine the
    worker reads the source and a model's path, and writes the answer into `part` instead of returning it.

    Raises:
        UnusableWorkerError: if the temporary folder cannot be written.
    """
    notes: list[str] = []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    path = Path(source)
    try:
        with tempfile.TemporaryDirectory(prefix="twolayer-") as scratch:
            if content is None:
                with explained(path, CANNOT_READ):
                    path = piece_file(path, Piece(*piece), Path(scratch))
            else:
                path = Path(scratch) / path.name
                path.write_bytes(content)
            rows = answer_rows(_model(model), path, notes, **options)
            head = next(rows)
            if number == 0:
                writer.writerow(head)
            writer.writerows(rows)
    except OSError as error:
        raise UnusableWorkerError(f"{error.filename or tempfile.gettempdir()}: {error.strerror or error}") from None
    except TwoLayerError as error:
        raise type(error)(_with_place(str(error), path, Path(source), Piece(*piece))) from error.__cause__
    answer = text.getvalue().encode()
    if part is not None:
        _write_part(Path(part), answer)
    notes = [_with_place(note, path, Path(source), Piece(*piece)) for note in notes]
    return notes, None if part is not None else answer


def _with_place(text: str, path: Path, source: Path, piece: Piece) -> str:
    """Return a message about a piece as one about its file, with the file's numbers of lines."""
    if piece.stop:
        offset = piece.first_line - (2 if piece.header else 1)
        text = re.sub(re.escape(f"{path}:") + r"(\d+)", lambda found: f"{source}:{int(found[1]) + offset}", text)
    return text.replace(str(path), str(source))
