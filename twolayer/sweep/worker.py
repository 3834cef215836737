"""A process that trains the runs it is told of: one JSON line in for each task, one out for each epoch and each end.

When its sweep ends, however it ends, the pipe closes, and the worker saves its run's state and leaves."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from twolayer.sweep.trial import Answer, Judge, Task, run_task


def main() -> None:
    """Serves until standard input ends."""
    # What else is printed goes to standard error, which is the worker's log.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the sweep's affair
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    while (line := lines.get()) is not None:
        message = json.loads(line)
        task = Task(**message["task"])
        outcome = run_task(task, Path(message["folder"]), _judge(answers, lines))
        _send(answers, {"status": outcome.status, "reason": outcome.reason})


def _read(lines: queue.Queue[str | None]) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put(None)
    os.kill(os.getpid(), signal.SIGTERM)  # a training takes it as the wish to stop; without one the process ends


def _judge(answers: TextIO, lines: queue.Queue[str | None]) -> Judge:
    def judge(epoch: int, value: float) -> Answer:
        _send(answers, {"epoch": epoch, "value": value})
        line = lines.get()
        if line is None:
            lines.put(None)  # the end is for `main` to see, too
            return "stop"
        answer: Answer = json.loads(line)["answer"]
        return answer

    return judge


def _send(answers: TextIO, message: dict[str, Any]) -> None:
    try:
        answers.write(json.dumps(message) + "\n")
        answers.flush()
    except OSError:  # no BrokenPipeError on Windows
        pass  # nobody is there any more; the closed standard input ends this process


if __name__ == "__main__":
    main()
