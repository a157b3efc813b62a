"""``cryosam serve``."""

from collections.abc import Sequence
from pathlib import Path

import click

from cryosam.cli.options import CACHE, MEMORY, NO_CACHE, PathType, example, open_cache

__all__ = ["serve"]


@click.command(
    epilog=example(
        "cryosam serve tomogram.mrc",
        "cryosam serve --results results",
        "cryosam serve tomograms --no-browser --port 8765",
    )
)
@click.argument("tomograms", type=PathType, nargs=-1)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="Port to listen on.  [default: the first free one from 8765]",
)
@click.option("--no-browser", is_flag=True, help="Print the address of the page without opening a browser.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen on; any other than the default may let other machines connect.",
)
@click.option(
    "--voxel-size", type=float, metavar="ANGSTROM", help="Edge length of a voxel; replaces the values in the headers."
)
@click.option(
    "--results",
    type=PathType,
    multiple=True,
    metavar="DIR",
    help="Also show the results of an earlier run or batch, from its --out folder; repeatable.",
)
@click.option(
    "--session",
    "session_folder",
    type=PathType,
    metavar="DIR",
    help="Folder that stores clicks and results.  [default: one per set of tomograms, in ~/.local/state]",
)
@MEMORY
@CACHE
@NO_CACHE
@click.pass_obj
def serve(
    command: str,
    tomograms: tuple[Path, ...],
    port: int | None,
    no_browser: bool,
    host: str,
    voxel_size: float | None,
    results: tuple[Path, ...],
    session_folder: Path | None,
    memory_gb: float | None,
    cache: Path | None,
    no_cache: bool,
) -> None:
    """Click one particle in a browser and see every particle of that kind.

    TOMOGRAMS are MRC, TIFF, HDF5 or OME-Zarr files, or folders of them. With --results they may be left out: those that
    were searched are opened, if they were not moved since. The page opens only with the token in the printed address.
    Clicks and results are saved and shown again the next time. For tomograms on another machine, run the command there
    with --port N, forward that port (ssh -L N:127.0.0.1:N), and open the address here.
    """
    try:
        from cryosam.ui.server.running import is_local
        from cryosam.ui.server.running import serve as serve_session
    except ModuleNotFoundError as error:
        raise click.ClickException(f"serve needs {error.name}: in the clone, pip install -e '.[serve]'") from error
    from cryosam.config import Config
    from cryosam.io.earlier_results import find_results
    from cryosam.ui.earlier import add_results
    from cryosam.ui.opening import open_searched, open_tomograms
    from cryosam.ui.session import Session
    from cryosam.ui.storage import Store
    from cryosam.ui.viewed import Gallery

    if not tomograms and not results:
        raise click.UsageError("no tomogram is given; give a file or a folder, or --results DIR")
    viewed, skipped = open_tomograms(tomograms, voxel_size) if tomograms else open_searched(results, voxel_size)
    _say_skipped(skipped)
    if not is_local(host):
        click.secho(
            f"cryosam: warning: listening on {host} without encryption: anyone on your network who has the address "
            "below can see these tomograms and change this session",
            fg="yellow",
            err=True,
        )
    if session_folder is None:
        store = Store.for_tomograms(viewed, results=[each for folder in results for each in find_results(folder)])
    else:
        store = Store(session_folder, viewed)
    session = Session(Gallery(viewed), store, Config(memory_gb=memory_gb), open_cache(cache, no_cache), guesses=True)
    try:
        if session.state.kinds and results:
            text = "continuing the saved session; to start from --results instead, add --session DIR with a new folder"
            click.echo(text, err=True)
        else:
            _say_skipped(add_results(session, results))
    except BaseException:
        session.close()
        raise

    def announce(address: str) -> None:
        n = len(viewed)
        click.echo(f"{n} tomogram{'' if n == 1 else 's'}; open {address}")
        click.echo("press Ctrl-C to stop; clicks and results are saved")

    serve_session(
        session,
        token=store.token,
        host=host,
        port=port,
        opens_browser=not no_browser,
        command=command,
        announce=announce,
    )


def _say_skipped(sentences: Sequence[str]) -> None:
    for sentence in dict.fromkeys(sentences):
        click.secho(f"cryosam: warning: skipped {sentence}", fg="yellow", err=True)
