"""Accuracy from few clicks, on tomograms with a known answer.

::

    python benchmarks/accuracy.py FOLDER                   # tomo.mrc, particles.csv and instances.mrc[.gz] in FOLDER
    python benchmarks/accuracy.py FOLDER --clicks 1 --seeds 5 --json > accuracy.json
    python benchmarks/accuracy.py FOLDER --noise 2 4 8     # also with 2, 4, 8 times its noise; needs labels.mrc[.gz]
    python benchmarks/accuracy.py --simulated              # tomograms of the project's own simulator
    python benchmarks/accuracy.py --random                 # the same with random complexes

A click is on a voxel within half a radius of the centre of a random particle. Each case runs the whole method in a
separate process, so that its peak memory is measured separately. A hit is a detection within ``--distance`` voxels of a
true centre, paired one to one. "F1" is at the threshold that the program chooses; "best F1" is at the best threshold
for that case, which no user knows. "Dice" is the Dice coefficient between the masks of detection and true instance,
averaged over the hits. The second table shows how well calibrated the probabilities of the candidates are. The third
shows the share of detections that are hits, by how well the kind is separated from everything else.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from cryosam import Config, PointPrompts, Segmentation, Tomogram, read_points, read_tomogram, segment, segment_kinds
from cryosam.arrays import Points
from cryosam.classification.thresholds import limit_false_discovery
from cryosam.evaluation.scores import match_points, score_detections
from cryosam.geometry import ball_diameter
from cryosam.io import read_volume
from cryosam.masks import InstanceMask
from speed import machine
from tomograms import gather, gather_noisier, gather_random

_SHARE = 0.1  # share of the detections that may be false


@dataclass
class Case:
    """One run: tomogram, kind and clicks, the scores of the result, time and memory."""

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
    separation: float = 0.0
    n_twice: int = 0
    """Detections that lie, within the distance of a hit, at a detection of another kind in the same run."""
    seconds: float = 0.0
    peak_gb: float = 0.0
    probabilities: list[tuple[float, bool]] = field(default_factory=list)
    """For each candidate, its probability and whether it is a hit; empty if scores are not probabilities."""


def run(folder: Path, cases: list[Case], distance: float, preset: str) -> list[Case]:
    """Run one case, or several kinds in one run; called in a separate process."""
    tomogram, config = read_tomogram(folder / "tomo.mrc"), Config.from_preset(preset)
    requests = [ask(folder, case, tomogram) for case in cases]
    start = time.perf_counter()
    if len(cases) == 1:
        found = [segment(tomogram, requests[0][0], config)]
    else:
        found = list(segment_kinds(tomogram, [prompts for prompts, _, _ in requests], config).kinds)
    seconds = time.perf_counter() - start
    for i, (case, (_, points, truths), part) in enumerate(zip(cases, requests, found, strict=True)):
        score(case, part, points, truths, distance)
        others = np.concatenate([np.empty((0, 3)), *(other.points for k, other in enumerate(found) if k != i)])
        nearest = np.linalg.norm(part.points[:, None] - others, axis=2).min(axis=1, initial=np.inf)
        case.n_twice = int((nearest <= distance).sum())
        case.seconds, case.peak_gb = seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return cases


def ask(folder: Path, case: Case, tomogram: Tomogram) -> tuple[PointPrompts, Points, list[InstanceMask]]:
    """Clicks, true centres and true instances of a case."""
    table = read_points(folder / "particles.csv").select(case.kind)
    instances = np.asarray(read_volume(next(folder.glob("instances.mrc*"))))
    if table.instances is None:
        raise SystemExit(f"{folder / 'particles.csv'} has no column 'instance'")
    truths = [InstanceMask.crop(instances == label) for label in table.instances]
    rng = np.random.default_rng(case.seed)
    chosen = rng.choice(len(table.points), size=min(case.n_clicks, len(table.points)), replace=False)
    radius = ball_diameter(float(np.median([t.n_voxels for t in truths]))) / 2
    clicks = table.points[chosen] + _within_ball(rng, len(chosen), radius / 2)
    clicks = np.clip(np.round(clicks), 0, np.array(tomogram.shape) - 1.0)
    return PointPrompts(clicks, name=case.kind), table.points, truths


def score(case: Case, found: Segmentation, points: Points, truths: list[InstanceMask], distance: float) -> None:
    """Fill in the scores of a result."""
    scores = score_detections(found.points, points, distance)
    everything = score_detections(found.candidate_points, points, distance, scores=found.candidate_scores)
    pairs = match_points(found.points, points, distance)
    case.n_found, case.threshold = len(found.points), float(found.threshold or 0)
    case.precision, case.recall, case.f1 = scores.precision, scores.recall, scores.f1
    case.best_f1 = float(everything.best_f1 or 0)
    case.centre_error = float(scores.mean_distance or 0)
    case.dice = float(
        np.mean([_dice(found.masks[i], truths[j]) for i, j in zip(pairs.predicted, pairs.truth, strict=True)] or [0])
    )
    case.separation = float(found.provenance.get("separation", 0))
    is_true = np.isin(
        np.arange(len(found.candidate_points)), match_points(found.candidate_points, points, distance).predicted
    )
    case.probabilities = [
        (float(p), bool(t)) for p, t in zip(found.candidate_scores, is_true, strict=True) if found.average is not None
    ]


def _within_ball(rng: np.random.Generator, n: int, radius: float) -> np.ndarray:
    """Random points, uniformly distributed in a ball around the origin."""
    direction = rng.normal(size=(n, 3))
    return direction / np.linalg.norm(direction, axis=1, keepdims=True) * radius * rng.random((n, 1)) ** (1 / 3)


def _dice(a: InstanceMask, b: InstanceMask) -> float:
    return 2 * a.overlap(b) / max(a.n_voxels + b.n_voxels, 1)


def summarise(cases: Sequence[Case]) -> list[str]:
    """A Markdown table with one row per tomogram, kind and number of clicks; values are means over the seeds."""
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


def count_labels(cases: Sequence[Case]) -> str:
    """A sentence on detections that have the place of a detection of another kind."""
    n_found, n_twice = (sum(getattr(case, name) for case in cases) for name in ("n_found", "n_twice"))
    return f"Of {n_found} detections {n_twice} lie where the same run has a detection of another kind."


def calibrate(cases: Sequence[Case]) -> list[str]:
    """A Markdown table, for each tomogram and for all: the share of hits among candidates of similar probability."""
    lines = ["| tomogram | probability | candidates | mean probability | hits |", "| --- | --- | --- | --- | --- |"]
    groups = {tomogram: [case for case in cases if case.tomogram == tomogram] for tomogram in _tomograms(cases)}
    if len(groups) > 1:
        groups["**all**"] = list(cases)
    for tomogram, group in groups.items():
        pairs = np.array([pair for case in group for pair in case.probabilities])
        for low in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9) if len(pairs) else ():
            high = {0.0: 0.1, 0.9: 1.01}.get(low, low + 0.2)
            chosen = pairs[(pairs[:, 0] >= low) & (pairs[:, 0] < high)]
            means = [f"{value:.2f}" for value in chosen.mean(axis=0)] if len(chosen) else ["", ""]
            lines.append(f"| {tomogram} | {low:g} to {min(high, 1):g} | {len(chosen)} | {means[0]} | {means[1]} |")
        accepted = [pair for case in group for pair in _limited(case.probabilities)]
        if accepted:
            mean, hits = np.mean(accepted, axis=0)
            name = f"accepted with `--max-false-discovery {_SHARE}`"
            lines.append(f"| {tomogram} | {name} | {len(accepted)} | {mean:.2f} | {hits:.2f} |")
    return lines


def tell_apart(cases: Sequence[Case]) -> list[str]:
    """A Markdown table: the share of hits among the detections, by the kind's distance to the nearest other class."""
    lines = ["| separation | runs | detections | hits |", "| --- | --- | --- | --- |"]
    for low, high in pairwise((0, 2, 3, 4, 5, 6, 8, np.inf)):
        group = [case for case in cases if low <= case.separation < high and case.n_found]
        n_found = sum(case.n_found for case in group)
        share = f"{sum(case.precision * case.n_found for case in group) / n_found:.2f}" if group else ""
        lines.append(f"| {low:g} to {high:g} | {len(group)} | {n_found} | {share} |")
    return lines


def _tomograms(cases: Sequence[Case]) -> list[str]:
    return list(dict.fromkeys(case.tomogram for case in cases))


def _limited(pairs: list[tuple[float, bool]]) -> list[tuple[float, bool]]:
    """The candidates that are accepted with the limit on false discoveries."""
    threshold = limit_false_discovery(np.sort([p for p, _ in pairs])[::-1], _SHARE)
    return [pair for pair in pairs if pair[0] >= threshold]


def _row(head: list[str], group: Sequence[Case]) -> str:
    def mean(name: str) -> float:
        return float(np.mean([getattr(c, name) for c in group]))

    cells = [f"{mean('f1'):.2f}", f"{min(c.f1 for c in group):.2f}"]
    cells += [f"{mean(name):.2f}" for name in ("best_f1", "precision", "recall", "dice", "centre_error")]
    return "| " + " | ".join([*head, *cells, f"{mean('seconds'):.0f}", f"{max(c.peak_gb for c in group):.1f}"]) + " |"


def main() -> None:
    """Parse the command line, run the cases, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="tomo.mrc, particles.csv and instances.mrc[.gz]")
    parser.add_argument(
        "--noise", type=float, nargs="+", default=[], help="also with these multiples of FOLDER's noise"
    )
    parser.add_argument("--simulated", action="store_true", help="also on tomograms simulated for this run")
    parser.add_argument("--random", action="store_true", help="also on simulated tomograms of random complexes")
    parser.add_argument("--clicks", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--distance", type=float, default=6.0, help="largest distance of a hit, in voxels")
    parser.add_argument("--preset", default="embedded")
    parser.add_argument("--together", action="store_true", help="all kinds of a tomogram in one run")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; each is slower if there are several")
    parser.add_argument("--json", action="store_true", help="print every case as JSON")
    arguments = parser.parse_args()
    if arguments.noise and arguments.folder is None:
        parser.error("--noise needs FOLDER, the tomogram to which noise is added")

    with tempfile.TemporaryDirectory() as temporary:
        folders = gather(arguments.folder, Path(temporary) if arguments.simulated else None)
        folders |= gather_random(Path(temporary)) if arguments.random else {}
        folders |= gather_noisier(arguments.folder, Path(temporary), arguments.noise) if arguments.noise else {}
        if not folders:
            parser.error("give a folder, --simulated or --random")
        cases = [
            case
            for name, folder in folders.items()
            for case in cases_of(name, folder, arguments.clicks, arguments.seeds)
        ]
        done = []
        spawn = get_context("spawn")
        with ProcessPoolExecutor(arguments.jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
            runs = _together(cases) if arguments.together else [[case] for case in cases]
            waiting = [
                pool.submit(run, folders[one[0].tomogram], one, arguments.distance, arguments.preset) for one in runs
            ]
            for future in as_completed(waiting):
                done += future.result()
                print(f"{len(done)}/{len(cases)} {replace(done[-1], probabilities=[])}", file=sys.stderr, flush=True)
    done.sort(key=lambda case: (case.tomogram, case.n_clicks, case.kind, case.seed))
    if arguments.json:
        print(json.dumps({"machine": machine(), "cases": [asdict(c) for c in done]}, indent=1))
    else:
        tables = [*summarise(done), "", *calibrate(done), "", *tell_apart(done)]
        print(*(f"{k}: {v}" for k, v in machine().items()), "", *tables, sep="\n")
        if arguments.together:
            print("", count_labels(done), sep="\n")


def _together(cases: list[Case]) -> list[list[Case]]:
    """The cases of all kinds, grouped by tomogram, number of clicks and seed."""
    keys = dict.fromkeys((case.tomogram, case.n_clicks, case.seed) for case in cases)
    return [[case for case in cases if (case.tomogram, case.n_clicks, case.seed) == key] for key in keys]


def cases_of(name: str, folder: Path, clicks: Sequence[int], n_seeds: int) -> list[Case]:
    """Every kind of a tomogram, with every number of clicks and seed."""
    table = read_points(folder / "particles.csv")
    kinds = dict.fromkeys(table.names or ())
    return [
        Case(name, kind, n_clicks, seed, len(table.select(kind).points))
        for n_clicks in clicks
        for kind in kinds
        for seed in range(n_seeds)
    ]


if __name__ == "__main__":
    main()
