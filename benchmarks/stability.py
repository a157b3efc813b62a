"""Whether the answer is the same with other arithmetic, and with a little noise: what should change nothing.

::

    python benchmarks/stability.py TOMOGRAM.mrc POINTS.csv --distance 6    # three clicks on annotated particles
    python benchmarks/stability.py TOMOGRAM.mrc POINTS.csv --distance 6 --kind 3cf3 --contrast dark

Each click is searched as it is, and again with each change, in separate processes: with one and with two threads, with
the instructions of an older processor (AVX2, single precision), and with white noise added whose standard deviation is
a hundredth of the tomogram's. A pick is the same if the other search has one within a quarter of ``--distance``. The
table gives the picks of both searches that the other one lacks, as a share of all of them. Random starts are not
varied: all of them are fixed in the program.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from cryosam import Config, PointPrompts, Tomogram, pick, read_points, read_tomogram
from cryosam.arrays import Points
from cryosam.evaluation.scores import match_points, score_detections
from speed import machine

_CHANGES = {  # environment of the search
    "as it is": {"OMP_NUM_THREADS": "1"},
    "two threads": {"OMP_NUM_THREADS": "2"},
    "AVX2": {"OMP_NUM_THREADS": "1", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "noise": {"OMP_NUM_THREADS": "1"},
}
_NOISE = 0.01  # standard deviation of the added noise, in those of the tomogram
_SAME = 0.25  # of the distance of a hit: picks nearer than this are the same


def search(tomogram: Path, click: Points, contrast: str, noise: float) -> Points:
    """What a click finds, z, y, x in voxels, with some noise added."""
    given = read_tomogram(tomogram)
    if noise:
        values = np.asarray(given.data, dtype=np.float32)
        values = values + np.random.default_rng(1).normal(0, noise * values.std(), values.shape).astype(np.float32)
        given = Tomogram(values, given.voxel_size_angstrom)
    return pick(given, PointPrompts(click[None]), Config().override(tomogram__contrast=contrast)).points


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tomogram", type=Path)
    parser.add_argument("points", type=Path, help="annotated positions in voxels")
    parser.add_argument("--distance", type=float, required=True, help="voxels within which a pick is a hit")
    parser.add_argument("--kind", help="name of the annotated positions; all of them if not given")
    parser.add_argument("--clicks", type=int, default=3)
    parser.add_argument("--contrast", default="auto")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    annotated = read_points(chosen.points)
    truth = (annotated.select(chosen.kind) if chosen.kind else annotated).points
    clicks = truth[np.random.default_rng(0).permutation(len(truth))[: chosen.clicks]]
    if chosen.run:
        change, k = chosen.run.split("/")
        np.save(chosen.to, search(chosen.tomogram, clicks[int(k)], chosen.contrast, _NOISE * (change == "noise")))
        return
    print(f"{chosen.tomogram}, {len(truth)} annotated positions, {machine()}\n")
    print("| click | picks | F1 |" + "".join(f" {name} | F1 |" for name in list(_CHANGES)[1:]))
    print("| --- | --- | --- |" + " --- | --- |" * (len(_CHANGES) - 1))
    for k, click in enumerate(clicks):
        cells, first = [",".join(f"{c:.0f}" for c in click)], None
        for name, environment in _CHANGES.items():
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, "points.npy")
                command = [sys.executable, __file__, *sys.argv[1:], "--run", f"{name}/{k}", "--to", str(file)]
                subprocess.run(command, env=os.environ | environment, check=True)
                points = np.load(file)
            f1 = f"{score_detections(points, truth, chosen.distance).f1:.2f}"
            if first is None:
                first = points
                cells += [str(len(points)), f1]
                continue
            n_same = len(match_points(first, points, _SAME * chosen.distance).truth)
            n_all = len(first) + len(points)
            cells += [f"{(n_all - 2 * n_same) / max(n_all, 1):.1%}", f1]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
