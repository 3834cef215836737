"""Python processes that run a module of this package: they find it wherever this process did, and take no file of the
current folder for a module."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with arguments.

    Left to itself, `-m` puts the current folder before all else: a `queue.py` there would be run as Python's own.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def module_environment() -> dict[str, str]:
    """This process's environment variables, PYTHONPATH with this package in it, since a checkout is not installed."""
    package = str(Path(__file__).resolve().parent.parent)
    paths = filter(None, [package, os.environ.get("PYTHONPATH")])  # an empty one would be the current folder
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
