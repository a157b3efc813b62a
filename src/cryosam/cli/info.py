"""``cryosam info``."""

from pathlib import Path

import click

from cryosam.cli.options import PathType, example

__all__ = ["info"]


@click.command(epilog=example("cryosam info tomogram.mrc"))
@click.argument("tomogram", type=PathType)
def info(tomogram: Path) -> None:
    """Show the shape, voxel size, intensities and memory needs of a tomogram, and give advice."""
    from cryosam.cli.inspection import describe
    from cryosam.io.locations import as_location

    rows, advice = describe(tomogram)
    width = max(map(len, rows))
    for name, value in rows.items():
        click.echo(f"{name:{width}}  {value}")
    for line in advice:
        click.echo(f"note: {line}")
    click.echo(f"next: cryosam segment {as_location(tomogram)} --point Z,Y,X --out results")
