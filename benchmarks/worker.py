"""One contestant's process: it reads a request a line and answers each with a line, until its input ends.

{"shape": [64, 32, 10, 64], "optimizer": "sgd"}   gets ready, does one pass to warm up -> {"ready": true}
{"round": 3}                                      times that many passes, after one that is not timed
                                                  -> {"us": [microseconds per step, ...]}
{"seconds": 0.7}                                  runs passes for that time -> {"steps_per_second": ...}
{"finish": true}                                  -> {"final_loss": ..., "threads": ...}
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import IO, Any

from benchmarks.cases import Case, Shape, final_loss, make_work
from benchmarks.entries import ENTRIES


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
                ready.run_pass()
                answer = {"ready": True}
            except Exception as error:  # a peer that fails is left out by name, whatever it raises
                words = str(error).strip().splitlines() or [""]
                answer = {"ready": False, "reason": f"{type(error).__name__}: {words[0]}"[:200]}
        elif "round" in request:
            ready.run_pass()
            answer = {"us": [_timed_pass(ready.run_pass, work.case.steps) for _ in range(request["round"])]}
        elif "seconds" in request:
            began, passes = time.perf_counter(), 0
            while (elapsed := time.perf_counter() - began) < request["seconds"] or not passes:
                ready.run_pass()
                passes += 1
            answer = {"steps_per_second": passes * work.case.steps / elapsed}
        else:
            answer = {"final_loss": final_loss(work, ready.params()), "threads": threads(name)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _timed_pass(run_pass: Any, steps: int) -> float:
    began = time.perf_counter()
    run_pass()
    return (time.perf_counter() - began) / steps * 1e6


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
