"""``cryosam evaluate``."""

from pathlib import Path

import click

from cryosam.cli.options import AXES, POINTS_TOMOGRAM, POINTS_VOXEL_SIZE, PathType, example

__all__ = ["evaluate"]


@click.command(
    epilog=example(
        "cryosam evaluate results truth/particles.csv --name ribosome --distance 8",
        "cryosam evaluate results/instances.mrc truth/instances.mrc.gz --json",
        "cryosam evaluate picks.csv particles.star --tomogram TS_01.mrc",
        "cryosam evaluate results truth/labels.mrc --structure membrane --label 99",
        "cryosam evaluate results truth/filaments.csv --structure filament --name microtubule",
    )
)
@click.argument("predicted", type=PathType)
@click.argument("truth", type=PathType)
@click.option("--name", metavar="KIND", help="Score only this kind of TRUTH.  [default: every kind, one row per kind]")
@click.option(
    "--distance",
    type=click.FloatRange(min=0),
    default=6.0,
    show_default=True,
    metavar="VOXELS",
    help="Largest distance of a hit from the true particle's centre; the CZII challenge uses half the radius.",
)
@click.option(
    "--beta", type=click.FloatRange(min=0), default=4.0, show_default=True, help="Weight of recall in F-beta."
)
@click.option(
    "--structure",
    type=click.Choice(["particle", "membrane", "filament", "compartment"]),
    default="particle",
    show_default=True,
    help="What is compared. Membranes and compartments are volumes of labels, filaments are tables of points.",
)
@click.option(
    "--label",
    "labels",
    type=click.IntRange(min=1),
    multiple=True,
    metavar="N",
    help="Label of the membranes or compartments in TRUTH, whose connected parts are compared; repeatable.  "
    "[default: every label is an instance]",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=40.0,
    show_default=True,
    metavar="ANGSTROM",
    help="Largest distance of a hit: of a membrane to the middle of a true one, of a filament to a true line.",
)
@POINTS_TOMOGRAM
@POINTS_VOXEL_SIZE
@AXES
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def evaluate(
    predicted: Path,
    truth: Path,
    name: str | None,
    distance: float,
    beta: float,
    structure: str,
    labels: tuple[int, ...],
    tolerance: float,
    tomogram: Path | None,
    voxel_size: float | None,
    axes: str | None,
    as_json: bool,
) -> None:
    """Score a result against the ground truth.

    PREDICTED and TRUTH are each one of: a folder with particles.csv and possibly instances.mrc, such as --out of
    segment or simulate; a file of points (.csv, .star and others); or a volume of instance labels. Picks and true
    particles are paired one to one. If TRUTH has kind names and the picks have none, all picks are scored against each
    kind in turn, and the kinds without a hit are left out of the tables.

    With --structure, membranes and compartments are volumes of labels (in a folder: instances.mrc), and filaments are
    tables with the columns filament,z,y,x (in a folder: filaments.csv).
    """
    from cryosam.cli.point_frame import read_frame

    frame = read_frame(tomogram, voxel_size)
    if structure != "particle":
        from cryosam.cli.structure_scoring import compare_structures, print_scores, to_json

        scores = compare_structures(
            predicted, truth, frame, structure=structure, name=name, labels=labels, tolerance=tolerance
        )
        if as_json:
            click.echo(to_json(scores))
        else:
            print_scores(scores, structure)
        return
    from cryosam.cli.scoring import compare, print_comparison

    comparison = compare(predicted, truth, frame, name=name, distance=distance, beta=beta, axes=axes)
    if as_json:
        click.echo(comparison.to_json())
    else:
        print_comparison(comparison, distance, beta)
