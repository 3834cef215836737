"""The threads behind the lanes: they spin for a while after a stretch, in case another follows, and then sleep."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from types import TracebackType


class Crew:
    """The threads of all lanes but the first, which is the caller's own.

    While it is entered, its threads are awake.

    Args:
        work: called in a thread of its own for each lane, again and again while the crew is entered; it returns
            when there has been nothing to do for a while.
        lanes: how many lanes there are.
    """

    def __init__(self, work: Callable[[int], object], lanes: int) -> None:
        self._work, self._lanes = work, lanes
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> None:
        if not (self._threads and all(thread.is_alive() for thread in self._threads)):
            self._start()  # the first time, and in a process forked since
        with self._state.changed:
            self._state.wanted = True
            self._state.changed.notify_all()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state.wanted = False

    def _start(self) -> None:
        self._state = state = _State()
        self._threads = [
            threading.Thread(target=_serve, args=(state, self._work, lane), name=f"twolayer lane {lane}", daemon=True)
            for lane in range(1, self._lanes)
        ]
        for thread in self._threads:
            thread.start()
        weakref.finalize(self, state.dismiss)


class _State:
    """What a crew and its threads tell each other; the threads hold no reference to the crew."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.wanted = self.dismissed = False

    def dismiss(self) -> None:
        with self.changed:
            self.dismissed = True
            self.changed.notify_all()


def _serve(state: _State, work: Callable[[int], object], lane: int) -> None:
    while not state.dismissed:
        work(lane)
        with state.changed:
            while not (state.wanted or state.dismissed):
                state.changed.wait()
