"""Accuracy from few clicks, on tomograms with a known answer.

::

    python benchmarks/accuracy.py FOLDER                   # tomo.mrc, particles.csv and instances.mrc[.gz] in FOLDER
    python benchmarks/accuracy.py FOLDER --clicks 1 --seeds 5 --json > accuracy.json
    python benchmarks/accuracy.py --simulated              # tomograms of the project's own simulator

A click is a whole voxel within half a particle's radius of a random particle's centre. Every case runs the whole method
in a process of its own, so that its peak memory is its own. A hit lies within ``--distance`` voxels of a true centre,
one to one. "F1" is at the threshold that the program chose; "best F1" at the best threshold for that case, which no
user knows. "Dice" is the mean over hits of the Dice coefficient of the detection's mask and the true instance's.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from cryosam import Config, PointPrompts, read_points, read_tomogram, segment
from cryosam.evaluation import match_points, score_detections
from cryosam.io import read_volume
from cryosam.masks import InstanceMask
from speed import machine
from tomograms import gather


@dataclass
class Case:
    """One run: what was asked, and how good and how costly the answer was."""

    tomogram: str
    kind: str
    n_clicks: int
    seed: int
    n_truth: int
    n_found: int = 0
    precision: float = 0.0
    recall: float = 0.0
    f1: float = 0.0
    best_f1: float = 0.0
    threshold: float = 0.0
    dice: float = 0.0
    centre_error: float = 0.0
    seconds: float = 0.0
    peak_gb: float = 0.0


def run(folder: Path, case: Case, distance: float, preset: str) -> Case:
    """Run one case; called in a process of its own."""
    tomogram = read_tomogram(folder / "tomo.mrc")
    table = read_points(folder / "particles.csv").select(case.kind)
    instances = np.asarray(read_volume(next(folder.glob("instances.mrc*"))))
    labels = table.instances
    if labels is None:
        raise SystemExit(f"{folder / 'particles.csv'} has no column 'instance'")
    truths = [InstanceMask.crop(instances == label) for label in labels]
    rng = np.random.default_rng(case.seed)
    chosen = rng.choice(len(table.points), size=min(case.n_clicks, len(table.points)), replace=False)
    radius = (3 * np.median([t.n_voxels for t in truths]) / (4 * np.pi)) ** (1 / 3)
    clicks = table.points[chosen] + _within_ball(rng, len(chosen), radius / 2)
    clicks = np.clip(np.round(clicks), 0, np.array(tomogram.shape) - 1.0)

    start = time.perf_counter()
    found = segment(tomogram, PointPrompts(clicks), Config.from_preset(preset))
    case.seconds = time.perf_counter() - start
    case.peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6

    scores = score_detections(found.points, table.points, distance)
    everything = score_detections(found.candidate_points, table.points, distance, scores=found.candidate_scores)
    pairs = match_points(found.points, table.points, distance)
    case.n_found, case.threshold = len(found.points), float(found.threshold or 0)
    case.precision, case.recall, case.f1 = scores.precision, scores.recall, scores.f1
    case.best_f1 = float(everything.best_f1 or 0)
    case.centre_error = float(scores.mean_distance or 0)
    case.dice = float(
        np.mean([_dice(found.masks[i], truths[j]) for i, j in zip(pairs.predicted, pairs.truth, strict=True)] or [0])
    )
    return case


def _within_ball(rng: np.random.Generator, n: int, radius: float) -> np.ndarray:
    """Points spread evenly within a ball around the origin."""
    direction = rng.normal(size=(n, 3))
    return direction / np.linalg.norm(direction, axis=1, keepdims=True) * radius * rng.random((n, 1)) ** (1 / 3)


def _dice(a: InstanceMask, b: InstanceMask) -> float:
    return 2 * a.overlap(b) / max(a.n_voxels + b.n_voxels, 1)


def summarise(cases: Sequence[Case]) -> list[str]:
    """A Markdown table: one row a tomogram, kind and number of clicks, means over the seeds."""
    head = [
        "tomogram",
        "kind",
        "true",
        "clicks",
        "F1",
        "worst F1",
        "best F1",
        "precision",
        "recall",
        "Dice",
        "centre error",
        "s",
        "GB",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    keys = dict.fromkeys((c.tomogram, c.kind, c.n_clicks) for c in cases)
    for key in keys:
        group = [c for c in cases if (c.tomogram, c.kind, c.n_clicks) == key]
        lines.append(_row([key[0], key[1], str(group[0].n_truth), str(key[2])], group))
    for tomogram, n_clicks in dict.fromkeys((c.tomogram, c.n_clicks) for c in cases):
        group = [c for c in cases if (c.tomogram, c.n_clicks) == (tomogram, n_clicks)]
        lines.append(_row([tomogram, "**mean**", "", str(n_clicks)], group))
    return lines


def _row(head: list[str], group: Sequence[Case]) -> str:
    def mean(name: str) -> float:
        return float(np.mean([getattr(c, name) for c in group]))

    cells = [f"{mean('f1'):.2f}", f"{min(c.f1 for c in group):.2f}"]
    cells += [f"{mean(name):.2f}" for name in ("best_f1", "precision", "recall", "dice", "centre_error")]
    return "| " + " | ".join([*head, *cells, f"{mean('seconds'):.0f}", f"{max(c.peak_gb for c in group):.1f}"]) + " |"


def main() -> None:
    """Parse the command line, run the cases one after the other, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="tomo.mrc, particles.csv and instances.mrc[.gz]")
    parser.add_argument("--simulated", action="store_true", help="also on tomograms that are simulated now")
    parser.add_argument("--clicks", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--distance", type=float, default=6.0, help="of a hit, in voxels")
    parser.add_argument("--preset", default="embedded")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; more than one slows each down")
    parser.add_argument("--json", action="store_true", help="every case, as JSON")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        folders = gather(arguments.folder, Path(temporary) if arguments.simulated else None)
        if not folders:
            parser.error("give a folder, or --simulated")
        cases = [case for name, folder in folders.items() for case in _cases(name, folder, arguments)]
        done = []
        spawn = get_context("spawn")
        with ProcessPoolExecutor(arguments.jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
            waiting = [
                pool.submit(run, folders[case.tomogram], case, arguments.distance, arguments.preset) for case in cases
            ]
            for future in as_completed(waiting):
                done.append(future.result())
                print(f"{len(done)}/{len(cases)} {done[-1]}", file=sys.stderr, flush=True)
    done.sort(key=lambda case: (case.tomogram, case.n_clicks, case.kind, case.seed))
    if arguments.json:
        print(json.dumps({"machine": machine(), "cases": [asdict(c) for c in done]}, indent=1))
    else:
        print("\n".join([*(f"{k}: {v}" for k, v in machine().items()), "", *summarise(done)]))


def _cases(name: str, folder: Path, arguments: argparse.Namespace) -> list[Case]:
    table = read_points(folder / "particles.csv")
    kinds = dict.fromkeys(table.names or ())
    return [
        Case(name, kind, n_clicks, seed, len(table.select(kind).points))
        for n_clicks in arguments.clicks
        for kind in kinds
        for seed in range(arguments.seeds)
    ]


if __name__ == "__main__":
    main()
