"""Accuracy of a query from another tomogram, compared with a click in the same tomogram; the answers are known.

::

    python benchmarks/queries.py                 # all tomograms, simulated for this run
    python benchmarks/queries.py --kinds ring --json > queries.json

In the first tomogram each kind is clicked once, as in ``accuracy.py``, and a query is made. The other tomograms, with
other particles at other places, are searched with that query, and for comparison from a click in each. A hit lies
within 60 angstrom of a true centre, paired one to one.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from accuracy import Case, ask
from cryosam import SavedQuery, Segmentation, make_queries, read_points, read_tomogram, segment
from cryosam.evaluation.scores import score_detections
from cryosam.evaluation.simulation import SimulationConfig, simulate
from cryosam.io.phantoms import write_simulated
from speed import machine

_KINDS = ("bilobe", "barrel", "tetramer", "ring")
_HIT_ANGSTROM = 60.0
_SOURCE = "where the query is made"


@dataclass
class Answer:
    """Result of the search for one kind in one tomogram, from a query or from a click."""

    tomogram: str
    kind: str
    way: str
    n_truth: int
    n_found: int
    f1: float
    precision: float
    recall: float
    seconds: float


def tomograms(kind: str) -> dict[str, SimulationConfig]:
    """The tomograms in which a kind is searched for; those with equal numbers of all kinds are shared by all kinds."""
    all_kinds = dict.fromkeys(_KINDS, 14)

    def config(
        seed: int, counts: Mapping[str, int] = all_kinds, snr: float = 0.1, voxel_size: float = 10.0
    ) -> SimulationConfig:
        return SimulationConfig(
            shape=(64, 192, 192) if voxel_size == 10 else (56, 160, 160),
            counts=counts,
            n_vesicles=1,
            n_gold=1,
            seed=seed,
            snr=snr,
            voxel_size_angstrom=voxel_size,
        )

    seed = 120 + _KINDS.index(kind)
    return {
        _SOURCE: config(101),
        "the same noise (SNR 0.1)": config(102),
        "less noise (SNR 0.3)": config(105, snr=0.3),
        "more noise (SNR 0.05)": config(104, snr=0.05),
        "voxels of 13 A": config(106, voxel_size=13.0),
        "three of the kind": config(seed, {**all_kinds, kind: 3}),
        "none of the kind": config(seed + 10, {name: 14 for name in _KINDS if name != kind}),
    }


def judge(name: str, kind: str, way: str, folder: Path, found: Segmentation, seconds: float) -> Answer:
    """Score the detections against the truth."""
    table = read_points(folder / "particles.csv")
    truth = table.points[np.array(table.names) == kind]
    distance = _HIT_ANGSTROM / float(found.voxel_size_angstrom or 1)
    scores = score_detections(found.points, truth, distance)
    return Answer(
        name, kind, way, len(truth), len(found.points), scores.f1, scores.precision, scores.recall, round(seconds, 1)
    )


def compare(kind: str, scratch: Path) -> list[Answer]:
    """Search for one kind in all tomograms, from the query and from clicks."""
    answers: list[Answer] = []
    query: SavedQuery | None = None
    for name, config in tomograms(kind).items():
        folder = scratch / str(config.seed)
        if not folder.exists():
            write_simulated(folder, simulate(config))
        tomogram = read_tomogram(folder / "tomo.mrc")
        if query is not None:
            start = time.perf_counter()
            found = segment(tomogram, query)
            answers.append(judge(name, kind, "query", folder, found, time.perf_counter() - start))
        if kind in config.counts:
            prompts, _, _ = ask(folder, Case(name, kind, 1, 0, 0), tomogram)
            start = time.perf_counter()
            if query is None:
                (query,), found = make_queries(tomogram, [prompts])
            else:
                found = segment(tomogram, prompts)
            answers.append(judge(name, kind, "click", folder, found, time.perf_counter() - start))
        for answer in answers[-2:]:
            print(answer, file=sys.stderr, flush=True)
    return answers


def summarise(answers: list[Answer]) -> list[str]:
    """A Markdown table with one row per tomogram."""
    lines = [
        "| tomogram | true | F1 with the query | worst kind | F1 from a click | worst kind | found with the query |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(answer.tomogram for answer in answers):
        rows = {way: [a for a in answers if (a.tomogram, a.way) == (name, way)] for way in ("query", "click")}
        n_truth = sum(a.n_truth for a in rows["query"] or rows["click"])
        cells = []
        for way in ("query", "click"):
            f1 = [a.f1 for a in rows[way] if a.n_truth]
            cells += [f"{np.mean(f1):.2f}", f"{min(f1):.2f}"] if f1 else ["", ""]
        n_found = str(sum(a.n_found for a in rows["query"])) if rows["query"] else ""
        lines.append(f"| {name} | {n_truth} | {' | '.join(cells)} | {n_found} |")
    return lines


def main() -> None:
    """Parse the command line, run kind after kind, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", default=list(_KINDS), choices=_KINDS)
    parser.add_argument("--json", action="store_true", help="print every result as JSON")
    arguments = parser.parse_args()
    with TemporaryDirectory() as scratch:
        answers = [answer for kind in arguments.kinds for answer in compare(kind, Path(scratch))]
    if arguments.json:
        print(json.dumps({"machine": machine(), "answers": [asdict(answer) for answer in answers]}, indent=1))
    else:
        print("\n".join([*(f"{k}: {v}" for k, v in machine().items()), "", *summarise(answers)]))


if __name__ == "__main__":
    main()
