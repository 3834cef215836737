"""The errors that a user can cause or cure. Each has a message, `place: expected Y, got X; what to do`, and the exit
code that a command ends with; none of them ever shows a traceback on the command line."""

import importlib
from types import ModuleType


class TwoLayerError(Exception):
    """Wrong input or environment. The message is written for the user."""

    exit_code = 2


class ConfigError(TwoLayerError):
    """One or more problems in a config file or in its overrides: `problems`, one line each, as
    `file:line:column: key: what is wrong; what to try`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows: the report, without the frames that made it."""
        return [f"{type(self).__name__}:", *self.problems]


class FileError(TwoLayerError):
    """A file that cannot be read or written as what it should be."""


class DataError(FileError):
    """A problem in a data file or in rows handed to a model."""


class RunError(FileError):
    """A problem in a run folder or in a model file."""


class MissingExtraError(TwoLayerError):
    """A feature needs a package that is not installed."""


class DivergedError(TwoLayerError):
    """A step gave a loss or a gradient that is not finite. The message says what is kept, and where."""

    exit_code = 3


class MonitorError(TwoLayerError, ValueError):
    """The figure that should pick the best parameters is not a number."""


class CheckFailedError(TwoLayerError):
    """A check that was asked for (check, gradcheck, verify-resume) found a difference."""

    exit_code = 1


def import_extra(module: str, extra: str, what_for: str) -> ModuleType:
    """Return the optional package `module`; raise MissingExtraError if it is not installed: `what_for`, such as
    "engine: numba", needs the `extra` of pyproject.toml."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module + ".").startswith(error.name + "."):
            raise  # the package is there, and something inside it is broken: its own words say more
        raise MissingExtraError(
            f"{what_for} needs the package '{error.name}', which is not installed: "
            f"pip install '.[{extra}]' in a clone of twolayer"  # not by twolayer's name, which is on no index
        ) from None
