"""What several test modules share."""

from __future__ import annotations

import os
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

ROOT = Path(__file__).resolve().parent.parent


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
