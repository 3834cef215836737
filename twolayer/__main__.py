"""`python -m twolayer` and the command `twolayer`: runs a command and turns what went wrong into a message and an
exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from twolayer.commands import cli
from twolayer.errors import TwoLayerError


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 1 a check failed, 2 a fault of the user's or the environment's, 3
    diverged, 130 and 143 interrupted."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    try:
        code = cli.main(args=arguments, prog_name="twolayer", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except TwoLayerError as error:
        print(f"twolayer: {error}" if "\n" not in str(error) else error, file=sys.stderr)
        return error.exit_code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        print("twolayer: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has enough; what is still buffered has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except MemoryError:
        print("twolayer: out of memory: a smaller model.hidden or solver.batch_size needs less", file=sys.stderr)
        return 2


if __name__ == "__main__":
    main()
