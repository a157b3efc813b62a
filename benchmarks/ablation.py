"""What each step adds to the accuracy from one click, compared with template matching with the true density.

::

    python benchmarks/ablation.py FOLDER --densities MAPS  # tomo.mrc, particles.csv, instances.mrc[.gz]; MAPS/KIND.mrc
    python benchmarks/ablation.py --simulated              # tomograms of the project's own simulator
    python benchmarks/ablation.py --random                 # the same with random complexes

The figures are the best F1 over all thresholds; "own" is the F1 at the threshold that the program chooses. "features"
is the similarity of local descriptors. "0.5" is the F1 of the best 512 places above that fixed similarity, which is the
published rule. "masks" adds the prior score from each candidate's mask, "average" the comparison with an average, and
"classes" the division of candidates into classes, which is the whole method. "template" compares the candidates of the
last step with the true density, in the same orientations, the same frequency band and with the same weights as with the
average.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from accuracy import Case, ask, cases_of, score
from cryosam import Config, Segmentation, Tomogram, read_tomogram, segment
from cryosam.arrays import Points, Volume
from cryosam.averaging.orientations import OrientationSearch
from cryosam.evaluation.scores import score_detections
from cryosam.evaluation.simulation.complexes import make_complex
from cryosam.geometry import ball_diameter
from cryosam.intensities import detect_contrast, normalise
from cryosam.io import read_volume
from speed import machine
from tomograms import gather, gather_random

_PUBLISHED, _MOST = 0.5, 512  # least similarity of a detection, and largest number of detections (arXiv 2407.06833)
_CONFIGS = {
    "features": Config().override(
        averaging__is_on=False,
        matching__volume_tolerance=None,
        matching__candidate_similarity=_PUBLISHED,
        matching__max_candidates=_MOST,
    ),
    "masks": Config().override(averaging__is_on=False),
    "average": Config().override(classification__is_on=False),
    "classes": Config(),
}
_PROTEIN = 0.3  # voxels above this share of a density's maximum are protein


def best_of_template(tomogram: Tomogram, found: Segmentation, density: Volume, clicks: Points, truth: Points) -> float:
    """Best F1 of the candidates scored by their correlation with a density; 0 if there are no candidates."""
    if len(found.candidate_points) == 0:
        return 0.0
    diameter = ball_diameter(float(np.count_nonzero(density > _PROTEIN * density.max())))
    normalised = normalise(tomogram, detect_contrast(tomogram, clicks).contrast, Config().tomogram.percentiles)
    search = OrientationSearch.of(normalised, diameter, Config().averaging)
    cut = search.cut
    pixels = cut.step * (np.arange(cut.frame.edge) - cut.frame.edge // 2)
    z, y, x = (pixels + (n - 1) / 2 for n in density.shape)
    grid = np.meshgrid(z, y, x, indexing="ij")
    template = torch.from_numpy(ndimage.map_coordinates(density, grid, order=1).astype(np.float32))
    compared = search.find(template, cut.spectra(found.candidate_points))
    return float(score_detections(found.candidate_points, truth, 6.0, scores=compared.correlations).best_f1 or 0)


def main() -> None:
    """Print a table with one row per kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument(
        "--densities",
        type=Path,
        help="folder with a density map KIND.mrc for each kind in FOLDER, at the tomogram's voxel size",
    )
    parser.add_argument("--simulated", action="store_true")
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--steps", nargs="+", choices=list(_CONFIGS), default=list(_CONFIGS), help="columns to print")
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.folder is not None and arguments.densities is None:
        parser.error("with FOLDER, give the folder of its density maps with --densities")
    torch.set_num_threads(1)
    print("\n".join(f"{key}: {value}" for key, value in machine().items()))
    heads = ["tomogram", "kind", *(head for step in arguments.steps for head in _heads(step)), "template"]
    print("\n| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    with tempfile.TemporaryDirectory() as temporary:
        folders = gather(arguments.folder, Path(temporary) if arguments.simulated else None)
        folders |= gather_random(Path(temporary)) if arguments.random else {}
        for name, folder in folders.items():
            tomogram = read_tomogram(folder / "tomo.mrc")
            by_kind: dict[str, list[list[float]]] = {}
            for case in cases_of(name, folder, [1], arguments.seeds):
                densities = arguments.densities if folder == arguments.folder else folder
                row = _row(folder, tomogram, case, arguments.steps, densities)
                by_kind.setdefault(case.kind, []).append(row)
            rows = {kind: np.mean(values, axis=0) for kind, values in by_kind.items()}
            for kind, values in [*rows.items(), ("**mean**", np.mean(list(rows.values()), axis=0))]:
                print(f"| {name} | {kind} | " + " | ".join(f"{value:.2f}" for value in values) + " |", flush=True)


def _heads(step: str) -> list[str]:
    """Column headings of a step."""
    return [step, f"{step}, own", *([f"{step}, {_PUBLISHED}"] if step == "features" else [])]


def _row(folder: Path, tomogram: Tomogram, case: Case, steps: list[str], densities: Path) -> list[float]:
    """The figures of each step, then the best F1 of the template on the candidates of the last step."""
    prompts, points, truths = ask(folder, case, tomogram)
    row = []
    for step in steps:
        found = segment(tomogram, prompts, _CONFIGS[step])
        answer = replace(case)
        score(answer, found, points, truths, 6.0)
        row += [answer.best_f1, answer.f1]
        if step == "features":
            similar = found.candidate_points[found.candidate_scores >= _PUBLISHED]
            row.append(score_detections(similar, points, 6.0).f1)
    path = densities / f"{case.kind}.mrc"
    if path.exists():
        density = np.asarray(read_volume(path), dtype=np.float32)
    else:  # a built-in complex of the simulator
        density = make_complex(case.kind, tomogram.voxel_size_angstrom or 10.0)
    return [*row, best_of_template(tomogram, found, density, prompts.positive, points)]


if __name__ == "__main__":
    main()
