"""``cryosam query``."""

from typing import Any

import click

from cryosam.cli.options import SearchCommand, example, query_options

__all__ = ["query"]


@click.command(
    cls=SearchCommand,
    epilog=example(
        "cryosam query tomogram.mrc --kind ribosome --point 92,310,254 --out ribosome.npz",
        "cryosam segment other.mrc --query ribosome.npz --out results",
    ),
)
@query_options
def query(**options: Any) -> None:
    """Keep what was clicked in one TOMOGRAM, to find its kind in others without a click there.

    The kind is searched for first; the query holds what its particles have in common. Take a tomogram with a dozen of
    them or more, and look at what was found with cryosam segment. Several kinds make one file.
    """
    from cryosam.cli.pipeline import make_query

    make_query(options)
