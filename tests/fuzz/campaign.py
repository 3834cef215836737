"""One campaign: many cases under caps of time and memory, each judged, what surprises kept to be run again."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.watch import ForbiddenError, watched

MEMORY_BYTES = 500 << 20
READ_SECONDS = 5.0
TRAIN_SECONDS = 60.0


class SurpriseError(Exception):
    """Something else came out than the thing itself or a refusal in words."""


class TooSlowError(BaseException):
    """A case took longer than its cap; no handler of ordinary exceptions may swallow it."""


@dataclass
class Tally:
    """What a campaign has come to.

    Attributes:
        name: the campaign's.
        counts: how many cases ended how, in words.
        failures: where each surprise was kept, and what it was.
        slowest: seconds of the slowest case.
        peak: MiB that the process took at most while cases ran.
    """

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0
    peak: float = 0.0

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {word}" for word, count in sorted(self.counts.items()))
        memory = f", at most {self.peak:.0f} MiB in all" if self.peak else ""
        end = f"{len(self.failures)} FAILED" if self.failures else "none failed"
        return f"{self.name}: {counts}; slowest {self.slowest:.2f} s{memory}; {end}"


class Campaign:
    """Run cases one by one and count them; `folder` is each case's own, empty at its start.

    Args:
        name: what is attacked.
        folder: a scratch folder.
        keep: where the files of a case that failed are copied, made when it is needed.
        tick: called after each case.
    """

    def __init__(self, name: str, folder: Path, keep: Path, tick: Callable[[], object] = lambda: None) -> None:
        self.tally = Tally(name)
        self.folder = folder / name
        self._keep, self._tick = keep, tick

    def case(
        self, number: int, action: Callable[[], str], seconds: float = READ_SECONDS, *, guarded: bool = True
    ) -> str | None:
        """Run one case.

        Args:
            number: of the case, for the name of what is kept.
            action: writes into `folder` and returns a word for how it ended; any exception is a failure.
            seconds: the cap on its time.
            guarded: whether what `watch` forbids is a failure.

        Returns:
            The word, or None after a failure.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        start, word = time.perf_counter(), None
        try:
            guard = watched(self.folder) if guarded else nullcontext()
            with time_limit(seconds), guard, warnings.catch_warnings():
                warnings.simplefilter("error")
                word = action()
        except (Exception, ForbiddenError, TooSlowError) as error:
            self._keep_failure(number, error)
            word = None
        else:
            self.tally.counts[word] += 1
        taken = time.perf_counter() - start
        self.tally.slowest, self.tally.peak = max(self.tally.slowest, taken), max(self.tally.peak, peak_mib())
        self._tick()
        return word

    def _keep_failure(self, number: int, error: BaseException) -> None:
        self.tally.counts["failed"] += 1
        kept = self._keep / f"{self.tally.name}-{number}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.folder, kept, symlinks=True, copy_function=_copy)
        (kept / "traceback.txt").write_text("".join(traceback.format_exception(error)), "utf-8", "backslashreplace")
        self.tally.failures.append(f"{kept}: {type(error).__name__}: {error}"[:300])


def _copy(source: str, target: str) -> None:
    """Copy a file; in the place of a pipe, a socket or a sparse file of a terabyte it writes what it was."""
    found = Path(source).lstat()
    if Path(source).is_file() and found.st_size < MEMORY_BYTES:
        shutil.copy2(source, target)
    else:
        Path(target).write_text(f"mode {found.st_mode:o}, {found.st_size} bytes\n")


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TooSlowError inside after `seconds`; does nothing where the system or the thread has no alarms."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def too_slow(number: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"more than {seconds:g} seconds")

    former: Any = signal.signal(signal.SIGALRM, too_slow)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


@contextmanager
def memory_limit(n_bytes: int = MEMORY_BYTES) -> Iterator[None]:
    """Let the process take at most `n_bytes` more than it has, then MemoryError; Linux only, elsewhere no limit."""
    if not sys.platform.startswith("linux"):
        yield
        return
    import resource

    now = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    former = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + n_bytes, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, former)


def peak_mib() -> float:
    """Return the most memory that the process has had so far; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0.0
    scale = 20 if sys.platform == "darwin" else 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << scale)
