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
        "cryosam query tomogram.mrc --kind er --structure membrane --point 60,212,98 --out er.npz",
    ),
)
@query_options
def query(**options: Any) -> None:
    """Save the clicked kind of one TOMOGRAM as a query, to find it in other tomograms without a click.

    The kind is searched for in TOMOGRAM first; the query stores the features, size and average of its particles. Use a
    tomogram with a dozen of them or more, and check first with cryosam segment that they are found. Of a membrane, a
    filament or a compartment (--structure), the query stores its profile or size as measured at the points. Several
    kinds are stored in one file.
    """
    from cryosam.cli.pipeline import make_query

    make_query(options)
