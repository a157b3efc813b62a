"""``cryosam segment``."""

from typing import Any

import click

from cryosam.cli.options import SearchCommand, example, search_options
from cryosam.cli.structure_options import structure_options

__all__ = ["segment"]


@click.command(
    cls=SearchCommand,
    epilog=example(
        "cryosam segment tomogram.mrc --point 92,310,254 --diameter 250 --out results",
        "cryosam segment tomogram.mrc --points clicks.mod --out results --export warp,copick",
        "cryosam segment tomogram.mrc --structure membrane --point 60,212,98 --out membranes",
        "cryosam segment tomogram.mrc --structure filament --spacing 82 --point 40,120,77 --out microtubules",
    ),
)
@search_options
@structure_options
@click.pass_obj
def segment(command: str, /, **options: Any) -> None:
    """Find and segment every particle, membrane, filament or compartment of the clicked kind.

    TOMOGRAM is an MRC, TIFF, HDF5 or OME-Zarr file. A point is three numbers z,y,x, in voxels counted from 0.
    """
    from cryosam.cli.pipeline import run

    run("segment", options, command)
