"""Reliability of the report on the click: whether the better click is better, and what is found again is true.

::

    python benchmarks/trust.py             # on tomograms of the project's own simulator; an hour or more on one core
    python benchmarks/trust.py FOLDER      # tomo.mrc, particles.csv and instances.mrc[.gz] in FOLDER

Each kind is searched for from one random click, and with ``--trials`` other clicks. If the report names a better click,
the kind is searched for from that one too. A hit lies within ``--distance`` voxels of a true centre.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from accuracy import Case, ask
from cryosam import PointPrompts, RunOptions, read_points, read_tomogram, segment
from cryosam.evaluation.scores import match_points, score_detections
from speed import machine
from tomograms import gather


@dataclass
class Outcome:
    """One click and the report on it."""

    tomogram: str
    kind: str
    seed: int
    f1: float
    agreement: float
    f1_of_better_click: float | None
    n_others: int
    """Number of trials on other particles."""
    n_find_clicked: int
    """Number of these trials that find the clicked particle."""
    found_again: list[tuple[float, bool]]
    """For each detection: the share of the other clicks that find it too, and whether it is a hit."""
    n_missed: int
    """Number of places that most other clicks find but the first one does not."""
    n_missed_true: int


def measure(name: str, folder: Path, kind: str, seed: int, n_trials: int, distance: float) -> Outcome | None:
    """Search with trials, and again from the better click if one is named; None if nothing is found."""
    tomogram = read_tomogram(folder / "tomo.mrc")
    prompts, truth, _ = ask(folder, Case(name, kind, 1, seed, 0), tomogram)
    found = segment(tomogram, prompts, options=RunOptions(n_trials=n_trials))
    trust = found.trust
    if trust is None or not len(found.points):
        return None
    better = None
    if trust.better_click is not None:
        again = segment(tomogram, PointPrompts(trust.better_click[None]))
        better = score_detections(again.points, truth, distance).f1
    is_true = np.isin(np.arange(len(found.points)), match_points(found.points, truth, distance).predicted)
    left = np.delete(truth, match_points(found.points, truth, distance).truth, axis=0)
    return Outcome(
        name,
        kind,
        seed,
        score_detections(found.points, truth, distance).f1,
        float(trust.agreement[0]),
        better,
        int((~trust.is_on_clicked).sum()),
        int(trust.finds_clicked[~trust.is_on_clicked].sum()),
        list(zip(trust.found_again.tolist(), is_true.tolist(), strict=True)),
        len(trust.missed),
        len(match_points(trust.missed, left, distance).predicted),
    )


def report(outcomes: list[Outcome]) -> str:
    """Tables in Markdown."""
    lines = ["| tomogram | kind | F1 | agreement | others that find the clicked one | F1 of the better click |"]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: |")
    for each in outcomes:
        better = "none named" if each.f1_of_better_click is None else f"{each.f1_of_better_click:.2f}"
        found_by = f"{each.n_find_clicked} of {each.n_others}"
        lines.append(
            f"| {each.tomogram} | {each.kind} | {each.f1:.2f} | {each.agreement:.2f} | {found_by} | {better} |"
        )
    f1, agreement = (np.array([getattr(o, key) for o in outcomes]) for key in ("f1", "agreement"))
    followed = [o.f1 if o.f1_of_better_click is None else o.f1_of_better_click for o in outcomes]
    lines += ["", f"mean F1 {f1.mean():.2f}; from the better click, if one is named, {np.mean(followed):.2f}"]
    if len(outcomes) > 2:
        lines.append(f"correlation of agreement with F1: {np.corrcoef(f1, agreement)[0, 1]:.2f}")
    share, is_true = np.array([pair for o in outcomes for pair in o.found_again], dtype=float).T
    lines += ["", "| found again by | detections | true |", "| --- | ---: | ---: |"]
    for text, rows in (
        ("all other clicks", share == 1),
        ("half or more", (share >= 0.5) & (share < 1)),
        ("fewer", share < 0.5),
    ):
        lines.append(f"| {text} | {rows.sum()} | {100 * is_true[rows].mean() if rows.any() else 0:.0f} % |")
    n_missed, n_true = (sum(getattr(o, key) for o in outcomes) for key in ("n_missed", "n_missed_true"))
    lines += ["", f"reported as missed: {n_missed}; {n_true} of these are true particles"]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="another tomogram, instead of the simulated ones")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--distance", type=float, default=6.0, help="largest distance of a hit, in voxels")
    parser.add_argument("--json", action="store_true", help="print every case as JSON")
    arguments = parser.parse_args()
    outcomes = []
    with tempfile.TemporaryDirectory() as scratch:
        folders = gather(arguments.folder, None if arguments.folder else Path(scratch))
        for name, folder in folders.items():
            for kind in sorted(set(read_points(folder / "particles.csv").names or ())):
                for seed in range(arguments.seeds):
                    outcome = measure(name, folder, kind, seed, arguments.trials, arguments.distance)
                    print(outcome or f"{name} {kind}: nothing found", file=sys.stderr, flush=True)
                    outcomes += [] if outcome is None else [outcome]
    if arguments.json:
        print(json.dumps({"machine": machine(), "outcomes": [asdict(o) for o in outcomes]}, indent=1))
    else:
        print(f"{machine()}, {arguments.trials} trials\n\n{report(outcomes)}")


if __name__ == "__main__":
    main()
