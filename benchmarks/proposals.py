"""How many particles are among the places that a search proposes: by a radial profile, and by the learned detector.

::

    python benchmarks/proposals.py FOLDER [FOLDER ...]    # tomo.mrc, particles.csv and instances.mrc[.gz] in each
    python benchmarks/proposals.py FOLDER --seeds 5

For each kind, a random particle gives the radial profile, and its mask the diameter, which is multiplied by a random
factor, as wrong as a first mask is (a fifth). A particle is proposed if a place is within ``--distance`` voxels of its
centre. "2 N" is the share of the particles among twice as many places as there are particles of all kinds, "error" the
median distance of those from their centres, in voxels.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from accuracy import Case, ask, cases_of
from cryosam import Config, Tomogram, read_points, read_tomogram
from cryosam.geometry import ball_diameter
from cryosam.proposals import correlated, detected
from cryosam.scene import Scene
from speed import machine

_ERROR = 0.18  # standard deviation of the logarithm of a diameter


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=3, help="particles of each kind")
    parser.add_argument("--distance", type=float, default=8.0)
    chosen = parser.parse_args()
    print(f"{machine()}\n\nThe means over {chosen.seeds} particles of each kind.\n")
    print("| tomogram | kind | profile: 2 N | 6 N | error | detector: 2 N | 6 N | error |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for folder in chosen.folders:
        tomogram = read_tomogram(folder / "tomo.mrc")
        n_all = len(read_points(folder / "particles.csv").points)
        by_kind: dict[str, list[Case]] = {}
        for case in cases_of(folder.name, folder, [1], chosen.seeds):
            by_kind.setdefault(case.kind, []).append(case)
        for kind, cases in by_kind.items():
            rows = np.array([measure(folder, tomogram, case, n_all, chosen.distance) for case in cases])
            values = " | ".join(f"{value:.2f}" for value in np.nanmean(rows, axis=0))
            print(f"| {folder.name} | {kind} | {values} |", flush=True)


def measure(folder: Path, tomogram: Tomogram, case: Case, n_all: int, distance: float) -> list[float]:
    """Shares and error of one click, by a radial profile and by the detector."""
    prompts, points, truths = ask(folder, case, tomogram)
    rng = np.random.default_rng(case.seed)
    diameter = ball_diameter(float(np.median([truth.n_voxels for truth in truths]))) * float(
        np.exp(_ERROR * rng.normal())
    )
    clicked = points[[int(np.linalg.norm(points - prompts.points[0], axis=1).argmin())]]
    scene = Scene.open(tomogram, clicked, Config())
    found = []
    for places in (correlated(scene, scene.radial(diameter).profile(clicked), diameter), detected(scene, diameter)):
        for factor in (2, 6):
            nearest = np.asarray(cKDTree(places.points[: factor * n_all]).query(points)[0])
            found.append(float((nearest <= distance).mean()))
        found.append(float(np.median(nearest[nearest <= distance])) if (nearest <= distance).any() else float("nan"))
    return found


if __name__ == "__main__":
    main()
