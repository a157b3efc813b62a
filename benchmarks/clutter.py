"""False detections on membranes, gold and filaments, in crowded tomograms of the project's own simulator.

::

    OMP_NUM_THREADS=1 python benchmarks/clutter.py

Each kind is searched for from one click near a particle's centre (standard deviation one voxel along each axis). A
candidate or false detection counts as on a membrane, gold or a filament if that is within three voxels. If there are
false detections, the search is repeated with a negative click on the one with the best score. A hit lies within
``--distance`` voxels of a true centre.
"""

import argparse
from dataclasses import replace

import numpy as np
from scipy.ndimage import distance_transform_edt

from cryosam import PointPrompts, Segmentation, segment
from cryosam.arrays import Points
from cryosam.evaluation.scores import match_points, score_detections
from cryosam.evaluation.simulation import FILAMENT_LABEL, GOLD_LABEL, MEMBRANE_LABEL, SimulationConfig, simulate
from speed import machine

_CROWDED = SimulationConfig(shape=(88, 288, 288), n_vesicles=4, n_filaments=2, n_gold=12, n_debris=30)
_TOMOGRAMS = (
    ("10 A, SNR 0.1", 10.0, 0.1, ("barrel", "ring", "clamp"), 1),
    ("10 A, SNR 0.3", 10.0, 0.3, ("bilobe", "rod", "tripod"), 2),
    ("7 A, SNR 0.1", 7.0, 0.1, ("ring", "tripod", "barrel"), 4),
)
_CLUTTER = {"membrane": MEMBRANE_LABEL, "gold": GOLD_LABEL, "filament": FILAMENT_LABEL}
_NEAR = 3.0  # voxels


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--distance", type=float, default=6.0, help="largest distance of a hit, in voxels")
    arguments = parser.parse_args()
    print("\n".join(f"{key}: {value}" for key, value in machine().items()), end="\n\n")
    names = " | ".join(f"candidates on {name} | false on {name}" for name in _CLUTTER)
    print(f"| tomogram | kind | F1 | false | {names} | F1, false with a negative click |")
    print(f"| {' | '.join(['---'] * (5 + 2 * len(_CLUTTER)))} |")
    for title, voxel_size, snr, kinds, seed in _TOMOGRAMS:
        config = replace(_CROWDED, voxel_size_angstrom=voxel_size, counts=dict.fromkeys(kinds, 12), snr=snr, seed=seed)
        simulated = simulate(config)
        near = [distance_transform_edt(simulated.labels != label) <= _NEAR for label in _CLUTTER.values()]
        random = np.random.default_rng(seed)
        for kind in kinds:
            truth = simulated.points[np.array(simulated.names) == kind]
            click = np.clip(np.round(truth[0] + random.normal(size=3)), 0, np.array(config.shape) - 1)
            found = segment(simulated.tomogram, PointPrompts(click[None]))
            false = _false(found, truth, arguments.distance)
            counts = [
                int(place[tuple(np.round(points).astype(int).T)].sum())
                for place in near
                for points in (found.candidate_points, false)
            ]
            f1 = score_detections(found.points, truth, arguments.distance).f1
            again = ""
            if len(false):
                both = PointPrompts(np.stack([click, np.round(false[0])]), np.array([True, False]))
                found = segment(simulated.tomogram, both)
                left = _false(found, truth, arguments.distance)
                again = f"{score_detections(found.points, truth, arguments.distance).f1:.2f}, {len(left)}"
            row = [title, kind, f"{f1:.2f}", str(len(false)), *map(str, counts), again]
            print(f"| {' | '.join(row)} |", flush=True)


def _false(found: Segmentation, truth: Points, distance: float) -> Points:
    """Detections that are not hits, best first."""
    return np.delete(found.points, match_points(found.points, truth, distance).predicted, axis=0)


if __name__ == "__main__":
    main()
