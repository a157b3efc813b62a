"""``cryosam demo``."""

import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np
from jaxtyping import Float

from cryosam.arrays import Points
from cryosam.cli.options import OVERWRITE, PathType, example

__all__ = ["demo"]

_DISTANCE = 6.0  # voxels, as for the numbers in the documentation
_MARGIN = 20  # voxels from the clicked particle to the nearest face


@click.command(epilog=example("cryosam demo --out cryosam-demo"))
@click.option(
    "--out", type=PathType, default=Path("cryosam-demo"), show_default=True, metavar="DIR", help="Folder for all files."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed; each seed gives another tomogram.")
@OVERWRITE
@click.pass_obj
def demo(command: str, out: Path, seed: int, overwrite: bool) -> None:
    """Simulate a tomogram, segment it from ONE point, and score the result against the known answer."""
    from cryosam.evaluation.simulation import DEMO_KIND, demo_config, simulate
    from cryosam.io.folders import check_output

    check_output(out, overwrite=overwrite)
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    with ProcessPoolExecutor(1, get_context("spawn")) as another:
        simulating = another.submit(simulate, demo_config(seed))

        # in the meantime import torch, which takes about as long as the simulation
        from cryosam import segmentation
        from cryosam.cli.pipeline import report_findings
        from cryosam.cli.point_frame import PointFrame
        from cryosam.cli.progress import show_progress
        from cryosam.cli.scoring import compare, print_comparison
        from cryosam.io.phantoms import write_simulated
        from cryosam.io.results import RunInfo, write_segmentation
        from cryosam.prompts import PointPrompts
        from cryosam.scene import RunOptions
        from cryosam.steps import SEARCH, Steps

        simulated = simulating.result()
    with show_progress(Steps(SEARCH)) as progress:
        truth = write_simulated(out / "truth", simulated, overwrite=overwrite)
        click.echo(f"simulated {len(simulated.names)} particles of {len(simulated.kinds)} kinds: {truth / 'tomo.mrc'}")
        point = _choose_click(simulated.points, simulated.names, simulated.tomogram.shape, DEMO_KIND)
        text = ",".join(f"{c:g}" for c in point)
        click.echo(f"clicking one {DEMO_KIND} at z,y,x = {text}")
        prompts = PointPrompts(point[None], name=DEMO_KIND)
        before = time.perf_counter()
        found = segmentation.segment(simulated.tomogram, prompts, options=RunOptions(progress=progress))
        seconds = time.perf_counter() - before
        information = RunInfo(
            command=command,
            input_path=str(truth / "tomo.mrc"),
            started=started,
            seconds=round(time.perf_counter() - clock, 2),
        )
        folder = write_segmentation(
            out, found, tomogram=simulated.tomogram, prompts=prompts, run=information, overwrite=True
        )
    comparison = compare(folder, truth, PointFrame(), name=DEMO_KIND, distance=_DISTANCE, beta=4.0)
    print_comparison(comparison, _DISTANCE, beta=4.0)
    click.echo(f"F1 {comparison.detections[DEMO_KIND].f1:.2f} from one point")
    report_findings(found, folder, seconds)
    program, tomogram = _program(), shlex.quote(str(truth / "tomo.mrc"))
    click.echo(f"view the result in a browser: {program} serve {tomogram} --results {shlex.quote(str(out))}")
    click.echo(f"click in the browser yourself, at {text}: {program} serve {tomogram}")
    click.echo(f"do the same without a browser: {program} segment {tomogram} --point {text} --out results")


def _program() -> str:
    """Return how to call this program from here: by its name if it is on the PATH, otherwise by its path."""
    if shutil.which("cryosam"):
        return "cryosam"
    called = Path(sys.argv[0])
    if called.name != "cryosam":
        return f"{shlex.quote(sys.executable)} -m cryosam"
    return shlex.quote(str(called.relative_to(Path.cwd()) if called.is_relative_to(Path.cwd()) else called))


def _choose_click(
    points: Points, names: Sequence[str], shape: tuple[int, int, int], kind: str
) -> Float[np.ndarray, " 3"]:
    """Choose what a user would click: the most isolated particle of the kind away from all faces, at a whole voxel."""
    inside = ((points >= _MARGIN) & (points <= np.array(shape) - 1 - _MARGIN)).all(axis=1)
    candidates = np.flatnonzero((np.asarray(names) == kind) & inside)
    gaps = np.linalg.norm(points[candidates, None] - points[None], axis=2)
    gaps[np.arange(len(candidates)), candidates] = np.inf
    return np.round(points[candidates[np.argmax(gaps.min(axis=1))]])
