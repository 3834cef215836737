"""`python -m benchmarks.growth`: how a sweep grows with its workers and its trials.

The workers only sleep for a trial's time and send back small files; everything else is the code of a real sweep: the
caller's search, journal and run folders, Dask's scheduler and its messages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from twolayer.sweep import points, search, trial
from twolayer.sweep.search import run_sweep
from twolayer.utils.workers.cluster import ClusterAddress
from twolayer.utils.workers.pool import Job, JobResult

WORKERS = (1, 4, 16, 64, 256)
TRIALS = (1_000, 4_000, 16_000)
HOSTS = 4  # processes in which the workers are
SECONDS_VARIABLE = "TWOLAYER_TRIAL_SECONDS"
BASE = "data: {train: {generator: spiral, rows_per_class: 30}, validation: 0.25}\nmodel: {hidden: 8}\n"
SPACE = "base: base.yaml\nsampler: random\nspace: {solver.learning_rate: {log_uniform: [0.01, 1.0]}}\n"
SUMMARY = {"val_accuracy": 0.5, "val_loss": 0.7, "epochs": 3, "best_epoch": 2}


def sleep_there(ask: Any, name: str, config: Any, files: Any, digests: Any) -> tuple[tuple[str, str], dict[str, bytes]]:
    """Sleep in place of `train_there`; return files of the usual sizes."""
    time.sleep(float(os.environ[SECONDS_VARIABLE]))
    made = dict.fromkeys(("best.npz", "last.npz", "predictions.npz", "loss_curve.png"), b"x" * 4096)
    return ("finished", ""), {**made, "summary.json": json.dumps(SUMMARY).encode()}


async def serve_workers(address: str, count: int) -> None:
    """Be `count` workers of one thread each, in this process."""
    from distributed import Worker

    made = [Worker(address, nthreads=1, dashboard_address=None, heartbeat_interval="2s") for _ in range(count)]
    await asyncio.gather(*made)
    await asyncio.gather(*(worker.finished() for worker in made))


@contextlib.contextmanager
def cluster(count: int, folder: Path) -> Iterator[tuple[str, int]]:
    """Start a scheduler and workers; yield its address and process id."""
    file = folder / "scheduler.json"
    place = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", *place]
    begun = [subprocess.Popen(scheduler, stderr=subprocess.DEVNULL)]
    try:
        while not (file.exists() and file.stat().st_size):
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        hosts = min(count, HOSTS)
        for i in range(hosts):
            share = str(count // hosts + (i < count % hosts))
            command = [sys.executable, "-m", "benchmarks.growth", "--serve", address, share]
            begun.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        yield address, begun[0].pid
    finally:
        for process in reversed(begun):
            process.kill()
            process.wait()


def write_sweep(folder: Path, n_trials: int) -> Path:
    (folder / "base.yaml").write_text(BASE)
    (folder / "sweep.yaml").write_text(SPACE + f"trials: {n_trials}\n")
    return folder / "sweep.yaml"


def _say(text: str) -> None:
    if "joined" not in text:
        click.echo(text, err=True)


def throughput(count: int) -> tuple[float, float, float]:
    """Return the trials per second of a sweep with sleeping workers; CPU seconds per trial of caller and scheduler."""
    import psutil  # which distributed needs

    n_trials = max(10, min(8 * count, 3 * count + 100))
    ended: list[tuple[float, float, float]] = []
    take = points.Points.take

    def timed(self: points.Points, *arguments: Any) -> None:
        take(self, *arguments)
        ended.append((time.monotonic(), time.process_time(), sum(scheduler.cpu_times()[:2])))

    with tempfile.TemporaryDirectory() as scratch, cluster(count, Path(scratch)) as (address, pid):
        scheduler = psutil.Process(pid)
        points.Points.take = timed  # type: ignore[method-assign]
        try:
            path = write_sweep(Path(scratch), n_trials)
            run_sweep(path, folder=Path(scratch) / "out", cluster=ClusterAddress(address), say=_say)
        finally:
            points.Points.take = take  # type: ignore[method-assign]
    first, last = ended[len(ended) // 3], ended[-1 - min(count, len(ended) // 3)]
    n_between = len(ended) - 1 - min(count, len(ended) // 3) - len(ended) // 3
    seconds, caller, its_scheduler = (after - before for before, after in zip(first, last, strict=True))
    return n_between / seconds, caller / n_between, its_scheduler / n_between


class InstantPool:
    """Ends every job at once, without a process."""

    def __init__(self, *arguments: Any) -> None:
        self._jobs: list[Job] = []

    def free(self) -> int:
        return 8 - len(self._jobs)

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def wait(self, seconds: float) -> list[JobResult]:
        for job in self._jobs:
            run = Path(job.arguments["folder"])
            run.mkdir()
            (run / "summary.json").write_text(json.dumps(SUMMARY))
        ended, self._jobs = [JobResult(job, ("finished", "")) for job in self._jobs], []
        return ended

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


def many_trials(n_trials: int) -> dict[str, float]:
    """Return what a sweep of trials that take no time costs the caller."""
    search.LocalPool = InstantPool  # type: ignore[misc,assignment]
    search._draw = lambda *arguments: None  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as scratch:
        path, folder = write_sweep(Path(scratch), n_trials), Path(scratch) / "out"
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        run_sweep(path, folder=folder)
        first = time.process_time() - start
        run_sweep(path, folder=folder)
        return {
            "cpu_ms": 1e3 * first / n_trials,
            "resume_ms": 1e3 * (time.process_time() - start - first) / n_trials,
            "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "grown_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
            "journal_bytes": (folder / "journal.jsonl").stat().st_size / n_trials,
            "results_bytes": (folder / "results.csv").stat().st_size / n_trials,
        }


@click.command()
@click.option("--serve", nargs=2, hidden=True)
@click.option("--one", type=int, hidden=True)
@click.option("--workers", "counts", type=int, multiple=True, help="Number of workers; may be given several times.")
@click.option("--seconds", default=1.0, show_default=True, help="How long a worker sleeps for a trial.")
@click.option("--trials", type=int, multiple=True, help="Number of trials; may be given several times.")
def main(
    serve: tuple[str, str] | None, one: int | None, counts: Sequence[int], seconds: float, trials: Sequence[int]
) -> None:
    """Measure trials per second with 1 to 256 sleeping workers, and the caller's time and memory for many trials."""
    if serve:
        asyncio.run(serve_workers(serve[0], int(serve[1])))
        return
    if one is not None:
        click.echo(json.dumps(many_trials(one)))
        return
    from benchmarks import growth  # by this name, the workers can import it

    trial.train_there = growth.sleep_there
    search._draw = lambda *arguments: None  # type: ignore[assignment]
    os.environ[SECONDS_VARIABLE] = str(seconds)
    click.echo(f"{os.cpu_count()} CPUs; a trial sleeps {seconds:g} s")
    for count in counts or (() if trials else WORKERS):
        rate, caller, scheduler = throughput(count)
        share = rate * seconds / count
        cpu = f"CPU per trial: caller {1e3 * caller:.1f} ms, scheduler {1e3 * scheduler:.1f} ms"
        click.echo(f"{count:4} workers: {rate:6.1f} trials/s, {share:4.0%} of {count} times one; {cpu}")
    for n_trials in trials or (() if counts else TRIALS):
        command = [sys.executable, "-m", "benchmarks.growth", "--one", str(n_trials)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        click.echo(f"{n_trials:7,} trials: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
