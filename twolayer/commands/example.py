"""`twolayer example`: a shipped data set with its config, written to this folder.

The shipped data sets with their configs, written to wherever they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from twolayer.config import load_config
from twolayer.data.sources import files_of
from twolayer.utils.errors import FileError
from twolayer.utils.files import write_atomically
from twolayer.utils.text import did_you_mean, shown, some

SCHEMA_NAME = "twolayer.schema.json"


def shipped() -> Path:
    """The folder that holds `configs` and `data`: in the package where a wheel was installed, else the checkout."""
    inside = Path(__file__).parents[1] / "shipped"
    return inside if inside.is_dir() else Path(__file__).parents[2]


def example_names() -> list[str]:
    """Names of all examples: the shipped configs'."""
    return sorted(path.stem for path in (shipped() / "configs").glob("*.yaml"))


def write_example(name: str, folder: str | Path = ".") -> Sequence[Path]:
    """Writes an example's config, its schema, and its data into `data/`, ready to train from there.

    Files that are there already with the same content are left as they are.

    Args:
        name: one of `example_names`.
        folder: where to write; made if it is not there.

    Returns:
        The files, the config first.

    Raises:
        FileError: for an unknown name, or a file that is there with another content.
    """
    names = example_names()
    if name not in names:
        raise FileError(
            f"expected an example, one of {some(names, len(names))}, got {shown(name)}{did_you_mean(name, names)}"
        )
    folder, home = Path(folder), shipped()
    config = home / "configs" / f"{name}.yaml"
    text = (
        config.read_text("utf-8").replace("../data/", "data/").replace("$schema=schema.json", f"$schema={SCHEMA_NAME}")
    )
    files = {
        folder / config.name: text.encode(),
        folder / SCHEMA_NAME: (home / "configs" / "schema.json").read_bytes(),
    }
    data = load_config(config).data
    sources = [path for source in (data.train, data.test, data.validation) for path in files_of(_plain(source))]
    if sources:
        sources.append(home / "data" / "README.md")  # where they come from, and their licences
    files |= {folder / path.relative_to(home): path.read_bytes() for path in sources}
    for path, content in files.items():
        if path.exists() and path.read_bytes() != content:
            raise FileError(f"{path}: is there already, with another content; move it away, or go to an empty folder")
    for path, content in files.items():
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
    return list(files)


def _plain(source: object) -> object:
    return source.model_dump() if hasattr(source, "model_dump") else source


@click.command()
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Write the config NAME.yaml and its data into this folder. Without NAME: list the examples."""

    if name is None:
        click.echo("\n".join(example_names()))
        return
    paths = write_example(name)
    click.echo("\n".join(f"wrote {path}" for path in paths))
    click.echo(f"to train: twolayer train {paths[0]}")
