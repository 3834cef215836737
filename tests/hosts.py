"""Two hosts on one machine: network namespaces joined by a virtual cable, each with its own mounts, host name, HOME,
current folder, temporary folder and place of the data files. Needs root; every address is inside the namespaces."""

from __future__ import annotations

import contextlib
import os
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
PORT = 8786


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

    def __init__(self, name: str, address: str, folder: Path, hidden: Path) -> None:
        self.name, self.address, self.folder, self.hidden = name, address, folder, hidden
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
            **IMPATIENT,
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


@contextlib.contextmanager
def two_hosts(folder: Path) -> Iterator[tuple[Host, Host]]:
    """Make two hosts, and remove everything of them at the end."""
    first = Host("host-a", "10.83.7.1", folder / "a", folder / "b")
    second = Host("host-b", "10.83.7.2", folder / "b", folder / "a")
    try:
        for host in (first, second):
            run("ip", "netns", "add", host.namespace)
        run("ip", "link", "add", first.link, "type", "veth", "peer", "name", second.link)
        for host in (first, second):
            run("ip", "link", "set", host.link, "netns", host.namespace)
            run("ip", "-n", host.namespace, "address", "add", f"{host.address}/24", "dev", host.link)
            run("ip", "-n", host.namespace, "link", "set", "lo", "up")
            host.connect(True)
        yield first, second
    finally:
        for host in (first, second):
            host.close()
            subprocess.run(["ip", "netns", "delete", host.namespace], check=False, capture_output=True)


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        time.sleep(0.02)
