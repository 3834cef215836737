"""One contestant's process: it reads a request a line and answers each with a line, until its input ends.

{"shape": [64, 32, 10, 64], "optimizer": "sgd"}   gets ready and does some passes, always as many
                                                  -> {"loss": after them, "threads": ...} or {"reason": why it cannot}
{"seconds": 0.2}                                  times passes for that long, after one that is not timed
                                                  -> {"us": [microseconds per step, ...]}
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from typing import IO, Any

from benchmarks.cases import Case, Shape, loss_at, make_work
from benchmarks.entries import ENTRIES

PASSES = 3  # before the loss is compared


def serve(name: str, requests: IO[str], answers: IO[str]) -> None:
    """Answers the requests for the contestant `name`."""
    work: Any = None
    ready: Any = None
    for line in requests:
        request = json.loads(line)
        answer: dict[str, Any]
        if "shape" in request:
            work = make_work(Case(Shape(*request["shape"]), request["optimizer"]))
            try:
                ready = ENTRIES[name].prepare(work)
                for _ in range(PASSES):
                    ready.run_pass()
                answer = {"loss": loss_at(work, ready.params()), "threads": threads(name)}
            except Exception as error:  # a peer that fails is left out by name, whatever it raises
                words = str(error).strip().splitlines() or [""]
                answer = {"reason": f"{type(error).__name__}: {words[0]}"[:200]}
        else:
            ready.run_pass()
            times = [time.perf_counter()]
            while len(times) == 1 or times[-1] - times[0] < request["seconds"]:
                ready.run_pass()
                times.append(time.perf_counter())
            answer = {"us": [(end - begin) / work.case.steps * 1e6 for begin, end in itertools.pairwise(times)]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def threads(name: str) -> int:
    """How many threads the contestant's matrix products may use."""
    if "torch" in sys.modules and name in ("PyTorch eager", "torch.compile"):
        return int(sys.modules["torch"].get_num_threads())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    set_by_hand = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    return min(cores, int(set_by_hand)) if set_by_hand.isdecimal() and not name.startswith("JAX") else cores


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to standard error, out of the way of the answers
    serve(sys.argv[1], sys.stdin, answers)
