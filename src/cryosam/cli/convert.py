"""``cryosam convert``."""

from typing import Any

import click

from cryosam.cli.options import AXES, POINTS_TOMOGRAM, POINTS_VOXEL_SIZE, TILT_SERIES_PIXEL_SIZE, PathType, example

__all__ = ["convert"]


@click.command(
    epilog=example(
        "cryosam convert picks.tbl picks.star --tomogram TS_01.mrc",
        "cryosam convert results picks.mod",
        "cryosam convert results-TS_01 results-TS_02 particles.star --star warp",
        "cryosam convert results picks --relion-tomograms Tomograms/job009/tomograms.star",
    )
)
@click.argument("sources", type=PathType, nargs=-1, required=True)
@click.argument("out", type=PathType)
@POINTS_TOMOGRAM
@POINTS_VOXEL_SIZE
@click.option(
    "--name",
    metavar="NAME",
    help="Name of the tomogram, in a file of several tomograms and in OUT.  [default: that of --tomogram, of the "
    "points or of their file]",
)
@AXES
@click.option(
    "--star",
    type=click.Choice(["relion5", "relion4", "warp"]),
    default="relion5",
    show_default=True,
    help="Program whose STAR format is written.",
)
@TILT_SERIES_PIXEL_SIZE
@click.option(
    "--relion-tomograms",
    type=PathType,
    metavar="FILE",
    help="tomograms.star of a RELION 5 project: OUT becomes a folder with particles.star and optimisation_set.star.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT, or picks of the same objects in a copick project.")
def convert(**options: Any) -> None:
    """Write points in the format of another program.

    SOURCES is a file of points (.csv .txt .star .ndjson .json .mod .tbl .em), a copick project, or a result folder
    (--out of segment or pick), which also describes its tomogram. Several result folders are written to one file. The
    extension of OUT sets the format (.csv .star .ndjson .mod .tbl .em). Without an extension, OUT is a copick project,
    to which the masks of results are written too.
    """
    from cryosam.cli.conversion import convert_points

    click.echo(convert_points(**options))
