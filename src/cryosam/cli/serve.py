"""``cryosam serve``."""

from pathlib import Path

import click

from cryosam.cli.options import CACHE, MEMORY, NO_CACHE, PathType, example, open_cache

__all__ = ["serve"]


@click.command(
    epilog=example(
        "cryosam serve tomogram.mrc",
        "cryosam serve tomogram.mrc --results results",
        "cryosam serve tomograms --no-browser --port 8765",
    )
)
@click.argument("tomograms", type=PathType, nargs=-1, required=True)
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="N", help="To listen at.  [default: from 8765, a free one]"
)
@click.option("--no-browser", is_flag=True, help="Print the page's address only.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="To listen at; any but the default lets other machines in.",
)
@click.option(
    "--voxel-size", type=float, metavar="ANGSTROM", help="Edge of a voxel, in the place of what the headers say."
)
@click.option(
    "--results",
    type=PathType,
    multiple=True,
    metavar="DIR",
    help="Show what a run has found, too: the folder that was its --out. Repeat for several.",
)
@click.option(
    "--session",
    "session_folder",
    type=PathType,
    metavar="DIR",
    help="Keep clicks and results here.  [default: your own]",
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
    """Click once in a browser, and watch every particle of that kind light up.

    TOMOGRAMS are MRC, TIFF, HDF5 or OME-Zarr files, or folders of them. The page needs the token in the address that is
    printed. What you click and find is kept, and is there again the next time. For tomograms on another machine, run it
    there with --port N, forward that port (ssh -L N:127.0.0.1:N), and open the address here.
    """
    try:
        from cryosam.ui.server.running import is_local
        from cryosam.ui.server.running import serve as serve_session
    except ModuleNotFoundError as error:
        raise click.ClickException(f"serve needs {error.name}: in the clone, pip install -e '.[serve]'") from error
    from cryosam.config import Config
    from cryosam.ui.earlier import add_results
    from cryosam.ui.opening import open_tomograms
    from cryosam.ui.session import Session
    from cryosam.ui.storage import Store
    from cryosam.ui.viewed import Gallery

    viewed, skipped = open_tomograms(tomograms, voxel_size)
    for sentence in skipped:
        click.secho(f"cryosam: warning: left out {sentence}", fg="yellow", err=True)
    if not is_local(host):
        click.secho(
            f"cryosam: warning: listening at {host}: whoever on your network has the address below, which is not "
            "encrypted, can see these tomograms and change this session",
            fg="yellow",
            err=True,
        )
    store = Store.for_tomograms(viewed, results=results) if session_folder is None else Store(session_folder, viewed)
    session = Session(Gallery(viewed), store, Config(memory_gb=memory_gb), open_cache(cache, no_cache))
    try:
        if session.state.kinds and results:
            text = "the session goes on where it was left; --session DIR with a new folder begins with the results"
            click.echo(text, err=True)
        else:
            add_results(session, results)
    except BaseException:
        session.close()
        raise

    def announce(address: str) -> None:
        n = len(viewed)
        click.echo(f"{n} tomogram{'' if n == 1 else 's'}; open {address}")
        click.echo("Ctrl-C ends; what you clicked and found is kept")

    serve_session(
        session,
        host=host,
        port=port,
        opens_browser=not no_browser,
        command=command,
        announce=announce,
    )
