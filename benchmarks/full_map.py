"""One click on each kind of everything in a tomogram: voxel Dice of the exclusive map, and the scores by structure.

::

    python benchmarks/full_map.py $CRYOSAM_DATA/structures --particles 5mrc 3j9i 1f4a

The folder holds ``tomo.mrc``, ``labels.mrc.gz`` with the numbers below, ``instances.mrc.gz``, ``particles.csv`` and
``filaments.csv``. The click on a kind of particles is on the centre of the particle nearest to the middle of the
tomogram, that on a membrane in the middle of the sheet nearest to it, those on filaments half way along the first one.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from cryosam import PointPrompts, find_map, read_tomogram
from cryosam.arrays import Labels, Points
from cryosam.evaluation.filaments import score_filaments
from cryosam.evaluation.surfaces import middle_of, score_surfaces
from cryosam.full_map import FullMap
from cryosam.io import read_points, read_volume
from cryosam.io.lines import read_lines
from cryosam.structure_results import Filament, StructureKind

MEMBRANE = 99
FILAMENTS = {"tube": 97, "actin": 96}  # names in filaments.csv


def nearest_to_middle(points: Points, shape: tuple[int, ...]) -> Points:
    """The point nearest to the middle of the tomogram."""
    return points[[np.linalg.norm(points - (np.array(shape) - 1) / 2, axis=1).argmin()]]


def clicks_in(folder: Path, labels: Labels, particles: list[str]) -> dict[str, tuple[StructureKind, int, Points]]:
    """What each kind is, its true label and one click on it, by name."""
    table = read_points(folder / "particles.csv")
    kinds: dict[str, tuple[StructureKind, int, Points]] = {}
    for name in particles:
        point = nearest_to_middle(table.select(name).points, labels.shape)
        z, y, x = np.round(point[0]).astype(int)
        near = labels[z - 2 : z + 3, y - 2 : y + 3, x - 2 : x + 3]
        kinds[name] = (
            "particle",
            int(np.bincount(near[(near > 0) & (near < min(FILAMENTS.values()))]).argmax()),
            point,
        )
    middle = np.argwhere(middle_of(labels == MEMBRANE)).astype(float)
    kinds["membrane"] = ("membrane", MEMBRANE, nearest_to_middle(middle, labels.shape))
    for name, label in FILAMENTS.items():
        line = read_lines(folder / "filaments.csv", name)[0]
        kinds[name] = ("filament", label, line[[len(line) // 2]])
    return kinds


def score_structures(found: FullMap, folder: Path, labels: Labels, instances: Labels) -> None:
    """Print the scores of each structure."""
    size = found.voxel_size_angstrom
    for part in found.structures:
        if part.structure == "membrane":
            truth = np.where(labels == MEMBRANE, instances, 0)
            s = score_surfaces(part.labels(), truth, size)
            print(
                f"{part.kind}: precision {s.precision:.3f}, recall {s.recall:.3f}, F {s.f1:.3f} within "
                f"{s.tolerance_angstrom:g} A; {s.n_predicted} found, {s.n_truth} true, {s.n_paired} one to one"
            )
        else:
            lines = [each.points for each in part.instances if isinstance(each, Filament)]
            f = score_filaments(lines, read_lines(folder / "filaments.csv", part.kind), size)
            print(
                f"{part.kind}: precision {f.precision:.3f}, recall {f.recall:.3f}, F {f.f1:.3f} within "
                f"{f.tolerance_angstrom:g} A; {f.n_predicted} found, {f.n_truth} true, {f.n_merges} merges, "
                f"{f.n_splits} splits, directions {f.tangent_error_degrees or 0:.1f} degrees off"
            )


def main() -> None:
    """Search, and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--particles", nargs="*", default=[], metavar="NAME", help="kinds of particles to click")
    arguments = parser.parse_args()
    tomogram = read_tomogram(arguments.folder / "tomo.mrc")
    labels, instances = (read_volume(arguments.folder / f"{name}.mrc.gz") for name in ("labels", "instances"))
    kinds = clicks_in(arguments.folder, labels, arguments.particles)
    start = time.perf_counter()
    found = find_map(
        tomogram,
        [PointPrompts(click, name=name) for name, (_, _, click) in kinds.items()],
        {name: structure for name, (structure, _, _) in kinds.items() if structure != "particle"},
    )
    print(f"{len(kinds)} kinds in {time.perf_counter() - start:.0f} s")
    score_structures(found, arguments.folder, labels, instances)
    semantic = found.semantic()
    dices: list[float] = []
    for label in found.legend():
        ours, theirs = semantic == label.label, labels == kinds[label.kind][1]
        n_voxels = int(np.count_nonzero(ours)) + int(np.count_nonzero(theirs))
        dices.append(2 * int(np.count_nonzero(ours & theirs)) / max(n_voxels, 1))
        print(f"{label.kind}: {label.n_instances} found, voxel Dice in the exclusive map {dices[-1]:.3f}")
    print(f"mean voxel Dice {np.mean(dices):.3f}")


if __name__ == "__main__":
    main()
