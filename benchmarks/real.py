"""Picking in real tomograms from one click, scored against published or annotated positions.

::

    python benchmarks/real.py TOMOGRAM.mrc POINTS.csv --distance 6             # ten clicks on annotated particles
    python benchmarks/real.py TOMOGRAM.mrc POINTS.csv --distance 6 --background 5   # and five on nothing
    python benchmarks/real.py TOMOGRAM.mrc POINTS.csv --distance 6 --out FOLDER     # also masks and a report per click
    python benchmarks/real.py TOMOGRAM.mrc POINTS.csv --distance 6 --diameter 120   # a user who knows the size

Each click is on a random annotated particle, and everything is at the program's own operating point. A hit is a pick
within ``--distance`` voxels of an annotated position, paired one to one. Annotations of real tomograms are incomplete:
recall is meaningful, precision is a lower bound. "said false" is the number of false picks that the program expects.
A background click is at least two distances away from every annotated position and lies nowhere near a face.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from cryosam import Config, PointPrompts, pick, read_points, read_tomogram, segment
from cryosam.arrays import Points
from cryosam.evaluation.scores import score_detections
from cryosam.io.results import write_segmentation
from speed import machine

_MARGIN = 0.1  # fraction of each axis along its faces in which no background click lies


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tomogram", type=Path)
    parser.add_argument("points", type=Path, help="annotated positions in voxels")
    parser.add_argument("--distance", type=float, required=True, help="voxels within which a pick is a hit")
    parser.add_argument("--clicks", type=int, default=10)
    parser.add_argument("--background", type=int, default=0, help="number of clicks on nothing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--contrast", default="auto")
    parser.add_argument("--diameter", type=float, help="of the particles in angstrom, given to the program")
    parser.add_argument("--out", type=Path, help="folder for masks and a report of each run")
    chosen = parser.parse_args()
    tomogram, truth = read_tomogram(chosen.tomogram), read_points(chosen.points).points
    random = np.random.default_rng(chosen.seed)
    on_particles = truth[random.permutation(len(truth))[: chosen.clicks]]
    nowhere = _away_from(truth, tomogram.shape, 2 * chosen.distance, chosen.background, random)
    print(f"{tomogram.name}, {len(truth)} annotated positions, {machine()}\n")
    print("| click | picks | recall | precision at least | said false | resolution | s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    recalls, precisions = [], []
    for click, is_particle in [(c, True) for c in on_particles] + [(c, False) for c in nowhere]:
        start = time.perf_counter()
        settings = Config().override(tomogram__contrast=chosen.contrast, diameter_angstrom=chosen.diameter)
        prompts = PointPrompts(click[None])
        found = (segment if chosen.out else pick)(tomogram, prompts, settings)
        scores = score_detections(found.points, truth, chosen.distance)
        recall, precision = scores.recall, scores.precision
        if is_particle:
            recalls.append(recall)
            precisions.append(precision)
        report = found.report
        cells = [
            ",".join(f"{c:.0f}" for c in click) + ("" if is_particle else " (nothing)"),
            str(len(found.points)),
            f"{recall:.2f}",
            f"{precision:.2f}",
            "" if report.expected_false is None else f"{report.expected_false:.0f}",
            "" if report.resolution is None else f"{report.resolution:.1f}",
            f"{time.perf_counter() - start:.0f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
        if chosen.out:
            folder = chosen.out / "_".join(f"{c:.0f}" for c in click)
            write_segmentation(folder, found, tomogram=tomogram, prompts=prompts, overwrite=True)
    print(
        f"\nrecall: mean {np.mean(recalls):.2f}, worst {np.min(recalls):.2f}; "
        f"precision at least: mean {np.mean(precisions):.2f}, worst {np.min(precisions):.2f}"
    )


def _away_from(
    truth: Points, shape: tuple[int, int, int], distance: float, n: int, random: np.random.Generator
) -> list[Points]:
    """Random places at least a distance away from all annotated positions; fewer if there are hardly any."""
    size, tree = np.array(shape, dtype=float), cKDTree(truth)
    places: list[Points] = []
    for place in random.uniform(_MARGIN * size, (1 - _MARGIN) * size, (1000, 3)):
        if len(places) < n and tree.query(place)[0] >= distance:
            places.append(np.round(place))
    return places


if __name__ == "__main__":
    main()
