"""``cryosam simulate``."""

from pathlib import Path
from typing import Any

import click

from cryosam.cli.options import OUT, OVERWRITE, PathType, example

__all__ = ["simulate"]


def _parse_count(text: str) -> tuple[str, int]:
    """Parse the name of a kind and its number."""
    name, _, number = text.partition("=")
    if not name or not number.isdigit():
        raise click.BadParameter(f"give a kind and a number, such as ring=20 or membrane=1, got {text!r}")
    return name, int(number)


def _parse_shape(text: str) -> tuple[int, int, int]:
    """Parse three whole numbers separated by commas."""
    try:
        z, y, x = (int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"a shape is three whole numbers z,y,x, got {text!r}") from None
    return z, y, x


def _parse_tilts(text: str) -> tuple[float, float]:
    """Parse the lowest and highest tilt, or one number that stands for both."""
    try:
        low, *high = (float(part) for part in text.split(","))
        (last,) = high or [low]
    except ValueError:
        raise click.BadParameter(
            f"give the largest tilt, such as 60, or both ends, such as -51,57, got {text!r}"
        ) from None
    return (low if high else -low), last


@click.command(
    epilog=example(
        "cryosam simulate --out phantom --count ring=30 --count barrel=20 --snr 0.05",
        "cryosam simulate --out phantom --densities maps --voxel-size 10",
        "cryosam simulate --out phantom --count barrel=10 --count membrane=1 --count vesicle=3 --count microtubule=2",
        "cryosam simulate --out phantom --imaging tilt-series --tilt -51,57 --crowd 0.02 --deconvolve",
    )
)
@OUT
@click.option(
    "--densities", type=PathType, metavar="DIR", help="Folder of your own density maps (.mrc, protein positive)."
)
@click.option(
    "--count",
    "counts",
    type=_parse_count,
    metavar="NAME=N",
    multiple=True,
    help="Number of particles of a kind; repeatable. Also membrane, double-membrane, vesicle, microtubule, actin, "
    "actin-bundle.  [default: a mixture]",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Random seed; the same seed gives the same tomogram."
)
@click.option(
    "--shape", type=_parse_shape, metavar="Z,Y,X", help="Shape of the tomogram, in voxels.  [default: 96,256,256]"
)
@click.option("--voxel-size", type=float, metavar="ANGSTROM", help="Edge length of a voxel.  [default: 10]")
@click.option(
    "--snr",
    type=float,
    help="Signal-to-noise ratio of powers: 1 is easy, 0.1 typical, 0.03 hard.  [default: 0.1]",
)
@click.option(
    "--imaging",
    type=click.Choice(["fourier", "tilt-series"]),
    default="fourier",
    show_default=True,
    help="fourier: even noise outside the missing wedge. tilt-series: each projection with its own defocus, exposure, "
    "noise and error of alignment, then weighted back-projection.",
)
@click.option(
    "--tilt",
    type=_parse_tilts,
    metavar="DEGREES",
    help="Largest tilt angle, for -DEGREES to DEGREES; or MIN,MAX.  [default: 60]",
)
@click.option("--tilt-step", type=float, metavar="DEGREES", help="Angle between two tilts.  [default: 3]")
@click.option("--defocus", type=float, metavar="MICROMETRE", help="Underfocus.  [default: 4]")
@click.option("--deconvolve", is_flag=True, help="Deconvolve the tomogram; only with --imaging tilt-series.")
@click.option(
    "--crowd",
    type=float,
    metavar="SHARE",
    help="Share of the volume that small proteins fill between the particles, such as 0.02.  [default: 0]",
)
@click.option("--contrast", type=click.Choice(["dark", "bright"]), help="Contrast of protein.  [default: dark]")
@click.option("--clean", is_flag=True, help="Simulate without vesicles, gold or debris.")
@OVERWRITE
def simulate(
    out: Path,
    densities: Path | None,
    counts: tuple[tuple[str, int], ...],
    imaging: str,
    deconvolve: bool,
    clean: bool,
    overwrite: bool,
    **given: Any,
) -> None:
    """Simulate a tomogram with known ground truth: tomo.mrc, particles.csv, labels.mrc, instances.mrc.

    Membranes and filaments are in structures.mrc and filaments.csv.
    """
    from cryosam.cli.progress import show_progress
    from cryosam.evaluation.simulation import STRUCTURE_COUNTS, Deconvolution, SimulationConfig, TiltSeries
    from cryosam.evaluation.simulation import simulate as simulate_tomogram
    from cryosam.io.folders import check_output
    from cryosam.io.phantoms import read_densities, write_simulated
    from cryosam.steps import SIMULATION, Steps

    check_output(out, overwrite=overwrite)
    names = {
        "voxel_size": "voxel_size_angstrom",
        "defocus": "defocus_um",
        "tilt": "tilt_range_degrees",
        "tilt_step": "tilt_step_degrees",
        "crowd": "crowding",
    }
    settings = {names.get(name, name): value for name, value in given.items() if value is not None}
    if imaging == "tilt-series":
        settings["tilt_series"] = TiltSeries(deconvolution=Deconvolution() if deconvolve else None)
    elif deconvolve:
        raise click.UsageError("--deconvolve needs --imaging tilt-series")
    if clean:
        settings |= {"n_vesicles": 0, "n_gold": 0, "n_debris": 0}
    counted = dict(counts)
    settings |= {STRUCTURE_COUNTS[name]: counted.pop(name) for name in list(counted) if name in STRUCTURE_COUNTS}
    config = SimulationConfig(**settings)
    maps = {} if densities is None else read_densities(densities, config.voxel_size_angstrom)
    chosen = counted or dict.fromkeys(maps, 10)
    if chosen or counts:
        config = SimulationConfig(**settings, counts=chosen)
    with show_progress(Steps(SIMULATION)) as progress:
        simulated = simulate_tomogram(config, maps, progress)
    folder = write_simulated(out, simulated, overwrite=overwrite)
    n_structures = int(simulated.structures.max())
    also = f", {n_structures} membranes and filaments" if n_structures else ""
    of_kinds = f" of {len(simulated.kinds)} kinds ({', '.join(simulated.kinds)})" if simulated.kinds else ""
    click.echo(f"{len(simulated.names)} particles{of_kinds}{also} in {folder}")
    if len(simulated.points):
        z, y, x = (round(c) for c in simulated.points[0])
        click.echo(f"try: cryosam segment {folder / 'tomo.mrc'} --point {z},{y},{x} --out results")
