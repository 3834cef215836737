"""Two hosts on one machine: network namespaces joined by a virtual cable, each with its own mounts, host name, HOME,
current folder, temporary folder and place of the data files. Needs root; every address is inside the namespaces."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# A lost host is noticed within seconds; the defaults of Dask are 30 s and 5 min. Its minimum for TCP is 11 s.
IMPATIENT = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "8s",
    "DASK_LOGGING__DISTRIBUTED": "warning",
}
PATIENT = {"DASK_LOGGING__DISTRIBUTED": "warning"}  # Dask's defaults
PORT = 8786

ROWS = "a,b,y\n" + "".join(f"{i % 17},{i % 13},{(i % 17 > 8) ^ (i % 13 > 6):d}\n" for i in range(400))
BASE = """\
data: {train: rows.csv, label: y, validation: 0.25}
model: {hidden: 8}
solver: {epochs: EPOCHS, batch_size: 16}
run: {redraw_seconds: 1000}
"""
SPACE = """\
base: base.yaml
space:
  model.hidden: [4, 8]
  solver.learning_rate: {log_uniform: [0.01, 1.0]POINTS}
"""


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=20)


def why_not() -> str:
    """Return why hosts cannot be made here, or ""."""
    if sys.platform != "linux":
        return "network namespaces are of Linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not (shutil.which("ip") and shutil.which("unshare")):
        return "network namespaces need ip and unshare (iproute2, util-linux)"
    name = f"tl{os.getpid()}x"
    try:
        run("ip", "netns", "add", name)
    except (subprocess.SubprocessError, OSError) as error:
        return f"this machine makes no network namespaces: {error}"
    subprocess.run(["ip", "netns", "delete", name], check=False)
    return ""


class Host:
    """One host, with the files below `folder`; the folder `hidden` of the other one is empty here."""

    def __init__(self, name: str, address: str, folder: Path, hidden: Path, settings: dict[str, str]) -> None:
        self.name, self.address, self.folder, self.hidden, self.settings = name, address, folder, hidden, settings
        self.namespace = f"tl{os.getpid()}{name[-1]}"
        self.link = f"v{self.namespace}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.former: set[Path] = set()
        for part in ("home", "data", "work", "tmp"):
            (folder / part).mkdir(parents=True)
        hidden.mkdir(exist_ok=True)

    def start(self, *command: str, mounts: str = "", log: str = "", **variables: str) -> subprocess.Popen[bytes]:
        """Start a command on the host; its output goes to `log` in the host's folder."""
        environment = {
            **os.environ,
            **self.settings,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "TWOLAYER_DATA": str(self.folder / "data"),
            **variables,
        }
        begin = f"mount -t tmpfs none '{self.hidden}' && hostname {self.name} && cd '{self.folder}/work' && {mounts}"
        script = begin + 'exec "$@"'
        inside = ["ip", "netns", "exec", self.namespace, "unshare", "--mount", "--uts", "sh", "-c", script, "sh"]
        with (self.folder / (log or f"log{len(self.processes)}")).open("wb") as file:
            process = subprocess.Popen([*inside, *command], stdout=file, stderr=file, env=environment)
        self.processes.append(process)
        return process

    def start_scheduler(self, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--no-show"]
        return self.start(*command, "--host", self.address, "--port", str(PORT), *options)

    def start_worker(self, scheduler: str, *options: str, **more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler, "--nthreads", "1", "--no-nanny"]
        place = ["--no-dashboard", "--local-directory", str(self.folder / "tmp")]
        return self.start(*command, *place, *options, **more)

    def connect(self, connected: bool) -> None:
        """Plug the network cable in or out."""
        run("ip", "-n", self.namespace, "link", "set", self.link, "up" if connected else "down")

    def runs_in_training(self) -> list[Path]:
        """Return the histories of the runs that workers train in this host's temporary folder now."""
        return [each for each in (self.folder / "tmp").glob("twolayer-*/*/history.csv") if each not in self.former]

    def forget_runs(self) -> None:
        """Leave out what killed workers left behind."""
        self.former |= set(self.runs_in_training())

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()


class TwoHosts:
    """A scheduler and a worker on host a, a worker and the caller on host b, whose sweep files are in its work folder.

    Attributes:
        a, b: the hosts.
        worker_a, worker_b: their workers.
        scheduler: its process, on host a.
    """

    def __init__(self, a: Host, b: Host) -> None:
        self.a, self.b = a, b
        self.address = f"tcp://{a.address}:{PORT}"
        (a.folder / "data" / "rows.csv").write_text(ROWS)
        (b.folder / "data" / "rows.csv").write_text(ROWS)
        self.work = b.folder / "work"
        (self.work / "rows.csv").write_text(ROWS)
        self._n_callers = 0
        self.restart()

    def restart(self) -> None:
        """Start the scheduler and the workers, which end with their scheduler, if they do not run."""
        for name, start in (
            ("scheduler", self.a.start_scheduler),
            ("worker_a", lambda: self.a.start_worker(self.address)),
            ("worker_b", lambda: self.b.start_worker(self.address)),
        ):
            former = getattr(self, name, None)
            if former is not None:
                former.kill()
                former.wait()
            setattr(self, name, start())

    @contextlib.contextmanager
    def scheduler_on_b(self) -> Iterator[None]:
        """Have host b run the scheduler, host a only a worker."""
        former, self.address = self.address, f"tcp://{self.b.address}:{PORT}"
        begun = [self.b.start_scheduler(), self.a.start_worker(self.address), self.b.start_worker(self.address)]
        try:
            yield
        finally:
            self.a.connect(True)
            self.address = former
            for process in begun:
                process.kill()

    def write_sweep(self, more: str, epochs: int = 6, points: str = "") -> Path:
        (self.work / "base.yaml").write_text(BASE.replace("EPOCHS", str(epochs)))
        (self.work / "sweep.yaml").write_text(SPACE.replace("POINTS", points) + more)
        return self.work / "sweep.yaml"

    def start_caller(self, folder: str) -> Caller:
        self._n_callers += 1
        self.a.forget_runs()
        self.b.forget_runs()
        return Caller(self, folder, f"caller{self._n_callers}")

    def here(self, folder: Path) -> bytes:
        """Return results.csv of the same sweep on one machine."""
        from twolayer.sweep.search import run_sweep

        run_sweep(self.work / "sweep.yaml", folder=folder)
        return (folder / "results.csv").read_bytes()


class Caller:
    """A process `twolayer sweep` on host b."""

    def __init__(self, hosts: TwoHosts, folder: str, log: str) -> None:
        self.folder, self.log = hosts.work / folder, hosts.b.folder / log
        command = [sys.executable, "-m", "twolayer", "sweep", "sweep.yaml", "--sweep-dir", folder]
        # Another TWOLAYER_DATA than the worker's: the caller reads the file that its config names.
        self.process = hosts.b.start(*command, "--scheduler", hosts.address, "--quiet", log=log)

    def said(self) -> str:
        return self.log.read_text()

    def ended(self) -> list[str]:
        """Return the names of the runs whose end is in the journal, whose last line may not be written whole."""
        journal = self.folder / "journal.jsonl"
        return re.findall(r'^{"run": "([^"]+)".*}$', journal.read_text(), re.MULTILINE) if journal.exists() else []

    def n_ended(self) -> int:
        return len(self.ended())

    def results(self) -> bytes:
        """Wait for the end; return results.csv."""
        try:
            self.process.wait(90)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.said()) from None
        assert self.process.returncode == 0, self.said()
        return (self.folder / "results.csv").read_bytes()

    def assert_each_run_is_whole_and_ended_once(self) -> None:
        with (self.folder / "results.csv").open() as file:
            names = sorted(name for row in csv.DictReader(file) for name in row["runs"].split())
        assert sorted(each.name for each in (self.folder / "runs").iterdir()) == names
        for name in names:
            files = {each.name for each in (self.folder / "runs" / name).iterdir()}
            assert {"config.yaml", "history.csv", "best.npz", "last.npz", "summary.json", "loss_curve.png"} <= files
        assert self.n_ended() == len(names)


@contextlib.contextmanager
def two_hosts(folder: Path, settings: dict[str, str] = IMPATIENT) -> Iterator[TwoHosts]:
    """Make two hosts with these settings of Dask, and remove everything of them at the end."""
    first = Host("host-a", "10.83.7.1", folder / "a", folder / "b", settings)
    second = Host("host-b", "10.83.7.2", folder / "b", folder / "a", settings)
    try:
        for host in (first, second):
            run("ip", "netns", "add", host.namespace)
        run("ip", "link", "add", first.link, "type", "veth", "peer", "name", second.link)
        for host in (first, second):
            run("ip", "link", "set", host.link, "netns", host.namespace)
            run("ip", "-n", host.namespace, "address", "add", f"{host.address}/24", "dev", host.link)
            run("ip", "-n", host.namespace, "link", "set", "lo", "up")
            host.connect(True)
        yield TwoHosts(first, second)
    finally:
        for host in (first, second):
            host.close()
            subprocess.run(["ip", "netns", "delete", host.namespace], check=False, capture_output=True)


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        time.sleep(0.02)
