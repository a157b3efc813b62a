"""What clicks on particles, membranes, filaments, gold and background are taken for.

::

    python benchmarks/guess.py DATA                            # all tomograms of the development data
    python benchmarks/guess.py DATA --only structures --clicks 20

Clicks are at random true positions, moved by up to two voxels. One row for each kind of position: how many clicks were
taken for the right structure, how many were answered with a question ("unclear", or a guess with a confidence below
0.5, as that of a gold bead), how many for a wrong structure, and what for. On gold and on the background a question is
the right answer. Positions of membranes, microtubules, actin and gold are voxels of their labels, those of lumina and
background at least six voxels away from everything. The membranes of ``real/exosomes`` are looked for from the centres
of the vesicles outwards: at the radius where the mean over neighbouring directions is brightest.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from cryosam import Config, read_points, read_tomogram
from cryosam.arrays import Mask, Points
from cryosam.geometry import half_sphere
from cryosam.intensities import normalise
from cryosam.io import read_volume
from cryosam.missing_wedge import MissingWedge
from cryosam.structures import BinnedTomogram
from cryosam.structures.guess import chance_in, guess_structure

_SIMULATED = ("structures", "tomo_dev", "tilt_wbp", "tilt_deconv")
_REAL_PARTICLES = {"real/apoferritin.mrc": "real/apoferritin.csv", "real/lamella.mrc": "real/lamella_ribosomes.csv"}
_CONFIDENT = 0.5  # a guess below it is not acted upon
_LABELS = {"microtubule": 97, "gold": 98, "membrane": 99}
_RIGHT = {"microtubule": "filament", "actin": "filament", "lumen": "compartment", "gold": "", "background": ""}
"""The structure of each kind of position, if it has another name; none where a question is right."""


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the development data")
    parser.add_argument("--clicks", type=int, default=20, help="number of clicks of each kind in each tomogram")
    parser.add_argument("--only", help="name of one tomogram")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    print("| tomogram | click on | right | question | wrong | taken wrongly for | s a click |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, path, positions in _tomograms(chosen.folder, chosen.only):
        _row(name, path, positions, chosen.clicks, np.random.default_rng(chosen.seed))


def _row(name: str, path: Path, positions: dict[str, Points], n_clicks: int, random: np.random.Generator) -> None:
    """Print what clicks in one tomogram are taken for."""
    voxels = normalise(read_tomogram(path), "dark", Config().tomogram.percentiles)
    tomogram = BinnedTomogram.of(voxels, MissingWedge())
    chance = chance_in(tomogram)
    for kind, where in positions.items():
        start, answers = time.perf_counter(), Counter[str]()
        chosen = where[random.permutation(len(where))[:n_clicks]]
        moved = chosen + random.uniform(-1, 1, chosen.shape) * 2 / np.sqrt(3)
        for click in np.clip(moved, 0, np.array(tomogram.shape) - 1):
            guess = guess_structure(tomogram, click, chance=chance)
            answers["question" if guess.confidence < _CONFIDENT else guess.structure] += 1
        seconds = (time.perf_counter() - start) / max(len(chosen), 1)
        structure, question = _RIGHT.get(kind, kind), answers.pop("question", 0)
        right = answers.pop(structure, 0) if structure else question
        wrong = ", ".join(f"{answer} {n}" for answer, n in answers.items())
        cells = (name, kind, right, question if structure else "", sum(answers.values()), wrong, f"{seconds:.1f}")
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def _tomograms(folder: Path, only: str | None) -> Iterator[tuple[str, Path, dict[str, Points]]]:
    """Name, file and true positions of each tomogram, or of one."""
    for name in _SIMULATED:
        if only not in (None, name):
            continue
        labels = np.asarray(read_volume(folder / name / "labels.mrc.gz"))
        positions = {"particle": read_points(folder / name / "particles.csv").points}
        for kind, label in _LABELS.items():
            if (labels == label).any():
                positions[kind] = np.argwhere(labels == label).astype(float)
        if (labels == 96).any():
            positions["actin"] = np.argwhere(labels == 96).astype(float)
        is_far = ndimage.distance_transform_edt(labels == 0) > 6
        lumen = _lumen(labels == 99)
        if lumen.any():
            positions["lumen"] = np.argwhere((ndimage.distance_transform_edt(lumen) > 6) & (labels == 0)).astype(float)
            is_far &= ~lumen
        positions["background"] = np.argwhere(is_far).astype(float)
        yield name, folder / name / "tomo.mrc", positions
    for tomogram, points in _REAL_PARTICLES.items():
        if only not in (None, tomogram):
            continue
        yield tomogram, folder / tomogram, {"particle": read_points(folder / points).points}
    if only in (None, "real/exosomes.mrc"):
        path = folder / "real/exosomes.mrc"
        centres = read_points(folder / "real/exosomes_vesicles.csv").points
        yield "real/exosomes.mrc", path, {"membrane": _walls(path, centres)}


def _lumen(is_membrane: Mask) -> Mask:
    """What membranes, and the border, enclose: all parts of the rest but the largest."""
    parts, _ = ndimage.label(~is_membrane)
    sizes = np.bincount(parts.ravel())
    return np.asarray((parts > 0) & (parts != 1 + sizes[1:].argmax()))


def _walls(path: Path, centres: Points) -> Points:
    """Points on the walls of vesicles, at the brightest radius in each of some directions away from the beam."""
    tomogram = read_tomogram(path)
    smooth = ndimage.gaussian_filter(-np.asarray(tomogram.data, dtype=np.float32), 1.5)
    directions = half_sphere(60)
    directions = directions[np.abs(directions[:, 0]) < 0.4]
    directions = np.concatenate([directions, -directions])
    radii = np.arange(20.0, 60.0)
    walls = []
    for centre in centres:
        along = centre + directions[:, None] * radii[None, :, None]
        seen = ndimage.map_coordinates(smooth, along.reshape(-1, 3).T, order=1).reshape(len(directions), -1)
        near = directions @ directions.T > np.cos(np.radians(35))
        mean = near @ seen / near.sum(axis=1, keepdims=True)
        walls.append(centre + directions * radii[mean.argmax(axis=1)][:, None])
    points = np.concatenate(walls)
    inside = ((points >= 2) & (points <= np.array(tomogram.shape) - 3)).all(axis=1)
    return points[inside]


if __name__ == "__main__":
    main()
