"""`twolayer example`: write a shipped data set with its config to this folder."""

from collections.abc import Sequence
from pathlib import Path

import click

from twolayer.config import SCHEMA_NAME, load_config
from twolayer.data.sources import files_of
from twolayer.utils.errors import FileError
from twolayer.utils.files import holds, write_atomically
from twolayer.utils.text import did_you_mean, shown, some


def shipped() -> Path:
    """Return the folder that holds `configs` and `data`: inside an installed package, or the checkout."""
    inside = Path(__file__).parents[1] / "shipped"
    return inside if inside.is_dir() else Path(__file__).parents[2]


def example_names() -> list[str]:
    """Return the names of all examples, which are those of the shipped configs."""
    return sorted(path.stem for path in (shipped() / "configs").glob("*.yaml"))


def write_example(name: str, folder: str | Path = ".") -> Sequence[Path]:
    """Write an example's config, its schema, and its data into `data/`, ready to train, and return the files.

    The folder is made if absent; files that already exist with the same content are left alone. The config comes first.

    Raises:
        FileError: for an unknown name, or if a file exists with other content.
    """
    names = example_names()
    if name not in names:
        listed = some(names, len(names))
        raise FileError(f"expected an example, one of {listed}, got {shown(name)}{did_you_mean(name, names)}")
    folder, home = Path(folder), shipped()
    config, schema = home / "configs" / f"{name}.yaml", home / "configs" / "schema.json"
    text = config.read_text("utf-8").replace("../data/", "data/").replace(f"={schema.name}", f"={SCHEMA_NAME}")
    files = {folder / config.name: text.encode(), folder / SCHEMA_NAME: schema.read_bytes()}
    data = load_config(config).data.model_dump()
    sources = [path for key in ("train", "test", "validation") for path in files_of(data[key])]
    if sources:
        sources.append(home / "data" / "README.md")  # where they come from, and their licences
    files |= {folder / path.relative_to(home): path.read_bytes() for path in sources}
    for path, content in files.items():
        if path.exists() and not holds(path, content):
            raise FileError(f"{path}: already exists with other content; move it, or run this in an empty folder")
    for path, content in files.items():
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
    return list(files)


@click.command()
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Write the config NAME.yaml and its data into this folder. Without NAME, list the examples."""
    if name is None:
        click.echo("\n".join(example_names()))
        return
    paths = write_example(name)
    click.echo("\n".join(f"wrote {path}" for path in paths))
    click.echo(f"to train: twolayer train {paths[0]}")
