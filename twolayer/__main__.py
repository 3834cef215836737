"""`python -m twolayer` and the command `twolayer`: run a command and turn errors into a message and an exit code."""

import gc
import io
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

from twolayer.utils.errors import TwoLayerError
from twolayer.utils.process import TerminalStream

# New objects until Python searches them for garbage: imports make most, for good, and searching costs a short run 10 %.
GARBAGE_COLLECTION_AFTER = 50_000


class _Terminated(BaseException):
    """SIGTERM arrived; an exception, so that unfinished work is cleaned up on the way out."""


class _ErrorFile(io.FileIO):
    """Standard error that drops what cannot be written: a full disk or a closed pipe there ends no training."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(data)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a check failed, 2 wrong input or environment, 3 diverged, 130 and 143
    interrupted, 141 the reader of the output has closed it."""
    _open_streams()
    gc.set_threshold(GARBAGE_COLLECTION_AFTER)
    signal.signal(signal.SIGTERM, _terminate)
    code = run(arguments)
    gc.freeze()  # else the exit searches all that was imported for garbage once more, 0.2 s where there is a picture
    sys.exit(code)


def _open_streams() -> None:
    """Let standard output and error take every text: neither a stream that the caller closed, nor a character that its
    encoding lacks, as most do in a redirect on Windows, nor an unwritable standard error may end a training."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8", closefd=False))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            if stream.isatty():
                terminal = TerminalStream(stream.buffer, stream.encoding, "backslashreplace", line_buffering=True)
                setattr(sys, name, terminal)
            elif name == "stderr":
                buffer = io.BufferedWriter(_ErrorFile(stream.fileno(), "w", closefd=False))
                sys.stderr = io.TextIOWrapper(buffer, stream.encoding, "backslashreplace", line_buffering=True)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    try:
        return _run_command(arguments)
    except TwoLayerError as error:
        print(f"twolayer: {error}" if "\n" not in str(error) else error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("twolayer: interrupted", file=sys.stderr)
        return 130
    except _Terminated:
        print("twolayer: terminated", file=sys.stderr)
        return 143
    except BrokenPipeError:  # the reader of our output has closed it, as head does
        _discard_output()
        return 141
    except OSError as error:
        _discard_output()
        place = error.filename or ("the current folder" if isinstance(error, FileNotFoundError) else "output")
        print(f"twolayer: {place}: {error.strerror or error}", file=sys.stderr)
        return 2
    except MemoryError:
        trains = set(sys.argv[1:2] if arguments is None else arguments[:1]) <= {"train", "sweep"}
        smaller = "a smaller model.hidden or solver.batch_size" if trains else "a file with fewer rows"
        print(f"twolayer: out of memory: {smaller} needs less", file=sys.stderr)
        return 2


def _run_command(arguments: Sequence[str] | None) -> int:
    """Let click run the command, and turn click's own ways to end into an exit code."""
    import click  # here, where a Ctrl-C is already caught: imports are most of a short command's time

    from twolayer.commands import cli

    try:
        code = cli.main(args=arguments, prog_name="twolayer", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return 2
    except click.Abort:
        raise KeyboardInterrupt from None
    except SystemExit:  # no command calls exit: it is click's answer to a closed pipe
        raise BrokenPipeError from None


def _discard_output() -> None:
    """Drop what is still buffered for standard output: writing it at the exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
