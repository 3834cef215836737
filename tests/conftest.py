"""What several test modules share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# A loaded machine must not fail a test, times are no test; and the same code passes or fails each time. To look for
# new examples: pytest --hypothesis-profile=explore
settings.register_profile("explore", deadline=None)
settings.register_profile("same each time", deadline=None, derandomize=True)
settings.load_profile("same each time")

# A background job starts with Ctrl-C ignored, and so would all processes that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent

# With TWOLAYER_NO_SKIPS set, as .ci/run sets it, a test skipped for any other reason than these fails the session.
ALLOWED_SKIPS = {
    "without keras": "a peer of the benchmark that needs a framework of its own",
    "NumPy has another BLAS than OpenBLAS": "a platform's own NumPy; the wheels of Linux have OpenBLAS",
    "NumPy's own OpenBLAS is not there": "the same",
    "SCIPY_ARRAY_API is not set": "scikit-learn's check with arrays of other libraries",
    "network namespaces": "tests of two hosts need root on Linux, and iproute2",
}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a session that skipped a test without an allowed reason, where the environment asks for that."""
    if not os.environ.get("TWOLAYER_NO_SKIPS") or hasattr(session.config, "workerinput"):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    reasons = [str(report.longrepr[-1]) for report in reporter.stats.get("skipped", ())]
    refused = [each for each in reasons if not any(allowed in each for allowed in ALLOWED_SKIPS)]
    if refused:
        reporter.write_line(f"\n{len(refused)} tests were skipped that must run: {'; '.join(sorted(set(refused)))}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def run_twolayer():
    """Runs `python -m twolayer ARGUMENTS` in a process of its own and returns it when it has ended."""

    def run(*arguments: object, cwd: Path = ROOT, **options) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
        command = [sys.executable, "-m", "twolayer", *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, **options)

    return run
