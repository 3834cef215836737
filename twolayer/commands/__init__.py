"""The commands: one file each, thin, loaded only when it is called, so that `--help` and short commands are quick."""

from __future__ import annotations

import difflib
import functools
import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from twolayer.utils.version import __version__

COMMANDS = {
    "train": "train a network from a YAML config, or go on with a run",
    "evaluate": "test loss, accuracy, per-class table, confusion matrix of a run",
    "predict": "labels or probabilities for raw rows",
    "curves": "redraw or overlay loss curves",
    "report": "one HTML page to look at or send",
    "watch": "follow runs while they train, in the browser",
    "check": "look at data, initial loss and gradients before training",
    "gradcheck": "analytic gradients against numeric ones and every reference",
    "explain": "one real row through all equations",
    "experiment": "the source texts' claims as pictures",
    "verify-resume": "a run killed and resumed against one never killed",
    "init": "a commented config for your own data",
    "example": "a shipped data set with its config, written to this folder",
    "export": "a model as safetensors or ONNX",
    "sweep": "hyperparameter search",
    "schema": "JSON Schema of the config, for editors",
}


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a Dask scheduler; the command gets them as `cluster`, a ClusterAddress or None."""

    @functools.wraps(command)
    def wrapped(
        *arguments: Any, scheduler: str | None, tls_ca_file: str, tls_cert: str, tls_key: str, **more: Any
    ) -> Any:
        cluster = None
        if scheduler is not None:
            from twolayer.utils.workers.cluster import ClusterAddress

            cluster = ClusterAddress(scheduler, tls_ca_file, tls_cert, tls_key)
        return command(*arguments, cluster=cluster, **more)

    for name, metavar, text in reversed(
        (
            ("--scheduler", "ADDRESS", "Work on a Dask cluster, e.g. tcp://host:8786 or tls://host:8786."),
            ("--tls-ca-file", "PEM", "Certificate authority of a tls:// cluster [default: Dask's configuration]."),
            ("--tls-cert", "PEM", "This machine's certificate for a tls:// cluster."),
            ("--tls-key", "PEM", "The certificate's private key."),
        )
    ):
        wrapped = click.option(name, metavar=metavar, help=text)(wrapped)
    return wrapped


def files_and_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Arguments parted into files and `KEY=VALUE`; a file that is there may have an equals sign in its name."""
    overrides = [argument for argument in arguments if "=" in argument and not os.path.isfile(argument)]
    return [argument for argument in arguments if argument not in overrides], overrides


def complete_keys(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete an override in the shell: a config key, or after its equals sign one of the key's choices."""
    from twolayer.config import reference_table
    from twolayer.config.schema import choices

    key, equals, _ = incomplete.partition("=")
    words = [f"{key}={word}" for word in choices(tuple(key.split(".")))] if equals else []
    words += [] if equals else [f"{row.key}=" for row in reference_table()]
    found = [CompletionItem(word) for word in words if word.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


class Group(click.Group):
    """Finds a command in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"twolayer.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return _with_common_options(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(f"No such command '{name}'.{hint} 'twolayer --help' lists them.", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _with_common_options(command: click.Command) -> click.Command:
    """The command with --quiet and --version; one that shows nothing but its result takes --quiet, too."""
    there = {name for parameter in command.params for name in parameter.opts}
    if "--quiet" not in there:
        quiet = click.Option(["--quiet"], is_flag=True, expose_value=False, help="Show nothing but the result.")
        command.params.append(quiet)
    if "--version" not in there:
        command = click.version_option(__version__, prog_name="twolayer")(command)
    return command


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="twolayer")
def cli() -> None:
    """Train a two-layer neural network: affine, ReLU, affine, softmax.

    'twolayer COMMAND --help' tells more of each command. Exit codes: 0 done, 1 a check failed, 2 input or environment
    at fault, 3 training diverged, 130 and 143 interrupted.
    """
