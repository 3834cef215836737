"""`twolayer watch`: a page in the browser that follows runs while they train."""

from pathlib import Path

import click

PORT = 5020
DEFAULT_PLACES = (Path("runs"), Path("runs/sweeps"))


@click.command()
@click.argument("places", nargs=-1, metavar="[FOLDER|RUN]...", type=click.Path(path_type=Path))
@click.option("--no-open", is_flag=True, help="Print the page's address and leave the browser alone.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, help="0: any free one.", show_default=True)
@click.option("--address", default="127.0.0.1", help="Listen there, e.g. 0.0.0.0; no password.", show_default=True)
def command(places: tuple[Path, ...], no_open: bool, port: int, address: str) -> None:
    """Follow runs while they train, on a page in the browser, until Ctrl-C.

    FOLDER is a folder of runs or of a sweep (by default runs/ and the sweeps in runs/sweeps/): runs that start later
    appear by themselves. The page reads the run folders and changes nothing in them. If the port is taken, the next
    free one is used.

    \b
    twolayer watch
    twolayer watch runs/digits runs/letters --no-open
    ssh -L 5020:127.0.0.1:5020 MACHINE twolayer watch --no-open     then open http://127.0.0.1:5020/ here
    """
    from twolayer.utils.errors import RunError
    from twolayer.views.watch import serve

    folders = [place.absolute() for place in places or DEFAULT_PLACES]
    for place, folder in zip(places, folders[: len(places)], strict=True):
        if not folder.is_dir():
            found = "a file" if folder.exists() else "nothing"
            raise RunError(f"{place}: expected a folder of runs or a run, got {found}")
    serve(folders, address, port, not no_open, click.echo)
