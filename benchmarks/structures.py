"""One click on a membrane, a microtubule, actin and the inside of a vesicle, in tomograms that the project simulates.

::

    python benchmarks/structures.py                 # three tomograms, three clicks on each structure
    python benchmarks/structures.py --clicks 1 --only deconvolved

The tomograms have a membrane (or two, 250 angstrom apart) that crosses the volume, vesicles, microtubules, actin,
particles, gold and debris. One is simulated in Fourier space, one as a tilt series, and one as a tilt series that is
then deconvolved. Clicks are random (fixed seed): within 20 angstrom of a membrane's middle, of actin's line and of the
middle of a whole vesicle, within 105 angstrom of a microtubule's line. Thresholds are the program's own.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cryosam import PointPrompts, find_structures
from cryosam.arrays import Labels, Points
from cryosam.errors import PromptError
from cryosam.evaluation.compartments import score_compartments
from cryosam.evaluation.filaments import score_filaments
from cryosam.evaluation.simulation import (
    MEMBRANE_LABEL,
    Deconvolution,
    Simulated,
    SimulationConfig,
    TiltSeries,
    simulate,
)
from cryosam.evaluation.surfaces import middle_of, score_surfaces
from cryosam.structure_results import Filament, StructureKind, StructureResult
from speed import machine

TOMOGRAMS = {
    "fourier": SimulationConfig(
        shape=(100, 320, 320),
        counts={"barrel": 10, "bilobe": 8},
        n_membranes=1,
        n_vesicles=3,
        n_microtubules=2,
        n_filaments=3,
        snr=0.3,
        seed=11,
    ),
    "tilt series": SimulationConfig(
        shape=(90, 280, 300),
        voxel_size_angstrom=13.3,
        counts={"ring": 10, "bilobe": 8},
        n_double_membranes=1,
        n_vesicles=3,
        n_microtubules=2,
        n_filaments=2,
        n_bundles=1,
        tilt_range_degrees=(-54.0, 57.0),
        snr=0.3,
        tilt_series=TiltSeries(),
        seed=12,
    ),
    "deconvolved": SimulationConfig(
        shape=(110, 350, 330),
        voxel_size_angstrom=8.0,
        counts={"barrel": 10},
        n_membranes=1,
        n_vesicles=2,
        n_microtubules=1,
        n_filaments=3,
        snr=0.15,
        tilt_series=TiltSeries(deconvolution=Deconvolution()),
        seed=13,
    ),
}
NEAR = {"membrane": 20.0, "microtubule": 105.0, "actin": 20.0, "vesicle": 20.0}  # angstrom, of a click


@dataclass(frozen=True, eq=False)
class Task:
    """A structure to find from any of some places."""

    name: str
    structure: StructureKind
    places: Points


def tasks_in(phantom: Simulated) -> Iterator[Task]:
    """What there is to find, and where to click."""
    middle = np.argwhere(middle_of(phantom.labels == MEMBRANE_LABEL)).astype(float)
    yield Task("membrane", "membrane", middle)
    for name in ("microtubule", "actin"):
        yield Task(name, "filament", np.concatenate([line.points[3:-3] for line in phantom.lines if line.name == name]))
    lumens = true_lumens(phantom)
    centres = ndimage.center_of_mass(lumens > 0, lumens, np.arange(1, lumens.max() + 1))
    if centres:
        yield Task("vesicle", "compartment", np.array(centres))


def true_lumens(phantom: Simulated) -> Labels:
    """Number of the vesicle at each voxel inside of one that lies in the volume as a whole; 0 elsewhere."""
    lumens = np.zeros(phantom.labels.shape, dtype=np.uint8)
    membrane = phantom.labels == MEMBRANE_LABEL
    for number in np.unique(phantom.structures[membrane]).tolist():
        wall = phantom.structures == number
        inside = ndimage.binary_fill_holes(wall) & ~wall
        if inside.any():
            lumens[inside] = lumens.max() + 1
    return lumens


def score(found: StructureResult, task: Task, phantom: Simulated) -> str:
    """The scores of one search, in a line."""
    size = found.voxel_size_angstrom
    if task.structure == "membrane":
        truth = np.where(phantom.labels == MEMBRANE_LABEL, phantom.structures, 0)
        s = score_surfaces(found.labels(), truth, size)
        return (
            f"precision {s.precision:.2f} recall {s.recall:.2f} F {s.f1:.2f}, voxel Dice {s.dice:.2f}, "
            f"{s.n_predicted} found, {s.n_truth} true, {s.n_paired} one to one"
        )
    if task.structure == "filament":
        lines = [each.points for each in found.instances if isinstance(each, Filament)]
        f = score_filaments(lines, [line.points for line in phantom.lines if line.name == task.name], size)
        return (
            f"precision {f.precision:.2f} recall {f.recall:.2f} F {f.f1:.2f}, {f.n_predicted} found, {f.n_truth} true, "
            f"{f.n_merges} merges, {f.n_splits} splits, directions {f.tangent_error_degrees or 0:.1f} degrees off"
        )
    c = score_compartments(found.labels(), true_lumens(phantom))
    off = "-" if c.volume_error is None else f"{c.volume_error:.2f}"
    return (
        f"{c.n_predicted} found, {c.n_truth} whole ones, {c.n_paired} one to one, Dice {c.dice or 0:.2f}, volume off "
        f"by {off}, {c.n_leaks} leaks"
    )


def main() -> None:
    """Simulate, search, and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clicks", type=int, default=3, help="on each structure")
    parser.add_argument("--only", choices=TOMOGRAMS, help="one tomogram only")
    arguments = parser.parse_args()
    print(machine())
    for name, config in TOMOGRAMS.items():
        if arguments.only not in (None, name):
            continue
        phantom, rng = simulate(config), np.random.default_rng(0)
        print(f"{name}: {config.shape} voxels of {config.voxel_size_angstrom:g} A", flush=True)
        for task in tasks_in(phantom):
            reach = NEAR[task.name] / config.voxel_size_angstrom
            for place in rng.choice(task.places, min(arguments.clicks, len(task.places)), replace=False):
                off = rng.normal(size=3)
                click = place + reach * rng.random() * off / np.linalg.norm(off)
                click = np.clip(click, 0, np.array(config.shape) - 1)
                start = time.perf_counter()
                try:
                    found = find_structures(phantom.tomogram, PointPrompts(click[None]), task.structure)
                    text = score(found, task, phantom)
                except PromptError as error:
                    text = f"refused: {error}"
                print(f"  {task.name:12s} {text}, {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
