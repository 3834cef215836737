"""The commands: one file each, thin, loaded only when it is called, so that `--help` and short commands are quick."""

import importlib
import itertools
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

from twolayer.utils.version import __version__

GROUPS = {
    "Train": {
        "init": "write a commented config for your own data",
        "train": "train a network from a YAML config, or resume a run",
        "check": "look at data, initial loss and gradients before training",
        "example": "write a shipped data set with its config to this folder",
        "schema": "print the JSON Schema of the config, for editors",
    },
    "Look": {
        "report": "write one HTML page about runs, to look at or send",
        "watch": "follow runs while they train, in the browser",
        "curves": "redraw or overlay loss curves",
        "evaluate": "show test loss, accuracy, per-class table and confusion matrix of a run",
    },
    "Understand": {
        "explain": "follow one real row through all equations",
        "experiment": "draw the source texts' claims as pictures",
        "gradcheck": "compare analytic gradients with numeric ones and every reference",
        "verify-resume": "compare a run killed and resumed with one never killed",
    },
    "Use": {"predict": "write labels or probabilities for raw rows", "export": "write a model as safetensors or ONNX"},
    "Search": {"sweep": "search for better hyperparameters"},
}
PATH = click.Path(path_type=Path)
_SECTIONS = ("data.", "model.", "solver.", "run.")
COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()}


def runs_and_look(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument RUN|FOLDER... as `runs`, and the options for how curves are drawn: `by`, `scale`, `bands`."""
    text = "Runs that differ in the seed alone: their mean, in a band."
    command = click.option("--bands/--no-bands", default=True, help=text)(command)
    kinds, text = click.Choice(["linear", "log"]), "Of the losses; by default whichever shows more."
    command = click.option("--scale", type=kinds, help=text)(command)
    axes = click.Choice(["epoch", "step", "seconds"])
    command = click.option("--by", type=axes, default="epoch", help="The x axis.", show_default=True)(command)
    return click.argument("runs", nargs=-1, required=True, metavar="RUN|FOLDER...", type=PATH)(command)


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a Dask scheduler; the command gets them as `cluster`, a ClusterAddress or None."""
    for name, text in (
        ("--tls-key", "The certificate's private key."),
        ("--tls-cert", "This machine's certificate for a tls:// cluster."),
        ("--tls-ca-file", "Certificate authority of a tls:// cluster [default: Dask's configuration]."),
    ):
        command = click.option(name, metavar="PEM", is_eager=True, help=text)(command)  # eager: read before --scheduler
    text = "Work on a Dask cluster, e.g. tcp://host:8786 or tls://host:8786."
    return click.option("--scheduler", "cluster", metavar="ADDRESS", callback=_address, help=text)(command)


def _address(ctx: click.Context, parameter: click.Parameter, scheduler: str | None) -> Any:
    files = [ctx.params.pop(name) for name in ("tls_ca_file", "tls_cert", "tls_key")]
    if scheduler is None:
        return None
    from twolayer.utils.workers.cluster import ClusterAddress

    return ClusterAddress(scheduler, *files)


def same_again(command: str) -> str:
    """Return the command line of this process, whether `twolayer` was called or one of the scripts of a checkout."""
    words = sys.argv[1:]
    return shlex.join(["twolayer", command, *(words[1:] if words[:1] == [command] else words)])


def files_and_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split arguments into files and `KEY=VALUE`; the name of an existing file may have an equals sign in it. Spaces
    around an equals sign are a UsageError."""
    for argument, after, second in zip(arguments, [*arguments[1:], ""], [*arguments[2:], "", ""], strict=False):
        key = argument.removesuffix("=")
        value = second if after == "=" else after.removeprefix("=")
        is_key = argument.endswith("=") or (argument.startswith(_SECTIONS) and not os.path.exists(argument))
        if "=" not in key and value and (after[0] == "=" or (is_key and "=" not in value)):
            raise click.UsageError(f"expected KEY=VALUE without spaces: write {key}={value}")
    overrides = [argument for argument in arguments if "=" in argument and not os.path.isfile(argument)]
    return [argument for argument in arguments if argument not in overrides], overrides


def require_picture(option: str, path: Path, *more: str) -> None:
    """Raise UsageError unless the name ends as that of a picture, or in one of `more`."""
    endings = (".png", ".svg", ".pdf", *more)
    if path.suffix.lower() not in endings:
        raise click.UsageError(f"{option}: expected a name that ends in {', '.join(endings)}, got {path}")


def complete_keys(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete an override in the shell: a config key, or after its equals sign one of the key's choices."""
    from twolayer.config.checking import choices
    from twolayer.config.models import KEYS

    key, equals, _ = incomplete.partition("=")
    words = [f"{key}={word}" for word in choices(tuple(key.split(".")))] if equals else []
    words += [] if equals else [f"{each}=" for each in KEYS]
    found = [CompletionItem(word) for word in words if word.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


@add_completion_class
class KeysInBash(BashComplete):
    """Completion in bash that writes no space after the equals sign of a key."""

    source_template = BashComplete.source_template.replace(
        "    return 0\n", "    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n    return 0\n"
    )


class Group(click.Group):
    """The command line: each command in the module of its name, listed by purpose."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"twolayer.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        options = {name for parameter in command.params for name in parameter.opts}
        if "--quiet" not in options:
            quiet = click.Option(["--quiet"], is_flag=True, expose_value=False, help="Show nothing but the result.")
            command.params.append(quiet)
        return command if "--version" in options else _add_version(command)

    def invoke(self, ctx: click.Context) -> Any:
        words = [word for argument in ctx.args for word in argument.split("=", 1)]
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:  # `--hidden 32` or `--lr=0.1` means a key
            from twolayer.config.models import KEYS, SweepFile
            from twolayer.utils.text import nearest

            option, where = error.option_name, error.ctx or ctx
            keys = {key.rpartition(".")[2]: key for key in KEYS}
            if where.info_name == "sweep":
                keys |= {name: name for name in SweepFile.model_fields}
            guess = nearest(option.lstrip("-").replace("-", "_").rpartition(".")[2], keys)
            if guess is None or not any("KEY=VALUE" in (each.metavar or "") for each in where.command.params):
                raise
            key = keys[guess]
            value = next((after for word, after in itertools.pairwise(words) if word == option), "-")
            value = "VALUE" if value.startswith("-") else value
            raise click.UsageError(f"{error.message} To set the key, write {key}={value}.", where) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<13}", text) for name, text in commands.items()])


_add_version = click.version_option(__version__, prog_name="twolayer")


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@_add_version
def cli() -> None:
    """Train a two-layer neural network: affine, ReLU, affine, softmax.

    'twolayer COMMAND --help' describes a command. Exit codes: 0 done, 1 a check failed, 2 wrong input or environment,
    3 training diverged, 130 and 143 interrupted, 141 the reader of the output has closed it.
    """


cli.commands.update(dict.fromkeys(COMMANDS))  # type: ignore[arg-type]  # names alone, for click's "Did you mean"
