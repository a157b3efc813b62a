"""``cryosam pick``."""

from typing import Any

import click

from cryosam.cli.options import SearchCommand, example, search_options

__all__ = ["pick"]


@click.command(
    cls=SearchCommand, epilog=example("cryosam pick tomogram.mrc --point 92,310,254 --negative 40,120,88 --out picks")
)
@search_options
@click.pass_obj
def pick(command: str, /, **options: Any) -> None:
    """Find every particle of the clicked kind: positions and scores, no masks."""
    from cryosam.cli.pipeline import run

    run("pick", options, command)
