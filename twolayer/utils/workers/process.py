"""A worker process of a local pool: one JSON line in for each job, one out for each message and each result.

When its pool ends, however it ends, the pipe closes; the worker then stops its job and exits."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from typing import Any, TextIO

from twolayer.utils.workers.pool import Ask, call


def main() -> None:
    """Serve jobs until standard input ends."""
    # What a job prints goes to standard error, which is the worker's log.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pool receives Ctrl-C and passes it on as SIGTERM
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    ask = _ask(out, lines)
    while (line := lines.get()) is not None:
        job = json.loads(line)
        send(out, dict([call(job["function"], job["arguments"], ask if job["asks"] else lambda message: "go")]))


def _read(lines: queue.Queue[str | None]) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put(None)
    os.kill(os.getpid(), signal.SIGTERM)  # a training saves its state and stops; anything else ends at once


def _ask(out: TextIO, lines: queue.Queue[str | None]) -> Ask:
    def ask(message: Any) -> str:
        send(out, {"message": message})
        line = lines.get()
        if line is None:
            lines.put(None)  # `main` needs to see the end as well
            return "stop"
        return str(json.loads(line)["answer"])

    return ask


def send(out: TextIO, message: dict[str, Any]) -> None:
    """Write a line; a pool that is gone is no error, the closed standard input ends this process."""
    try:
        out.write(json.dumps(message) + "\n")
        out.flush()
    except OSError:  # Windows has no BrokenPipeError
        pass


if __name__ == "__main__":
    main()
