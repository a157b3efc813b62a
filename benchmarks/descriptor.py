"""What learned descriptors change: F1 from one click with a setting off and on, in the same tomograms.

::

    python benchmarks/descriptor.py FOLDER [FOLDER ...]    # tomo.mrc, particles.csv and instances.mrc[.gz] in each
    python benchmarks/descriptor.py FOLDER --seeds 3
    python benchmarks/descriptor.py FOLDER --setting vectors.is_on                 # the search that follows a doubt

By default the setting is ``averaging.uses_descriptors``: whether they help to choose the members of the first average.
A click is on a voxel within half a radius of the centre of a random particle, as in `accuracy.py`; a hit is a detection
within ``--distance`` voxels of a true centre. F1 is at the threshold that the program chooses.
"""

import argparse
from pathlib import Path

import numpy as np

from accuracy import Case, ask, cases_of, score
from cryosam import Config, read_tomogram, segment
from speed import machine


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--distance", type=float, default=8.0)
    parser.add_argument("--setting", default="averaging.uses_descriptors", help="what is switched off and on")
    chosen = parser.parse_args()
    off = Config().override(**{chosen.setting.replace(".", "__"): False})
    configs = {"without": off, "with": Config()}
    print(
        f"{machine()}\n\n| tomogram | kind | seed | F1 without | F1 with |\n| --- | --- | --- | --- | --- |", flush=True
    )
    found: dict[str, list[float]] = {name: [] for name in configs}
    for folder in chosen.folders:
        tomogram = read_tomogram(folder / "tomo.mrc")
        for case in cases_of(folder.name, folder, [1], chosen.seeds):
            prompts, points, truths = ask(folder, case, tomogram)
            for name, config in configs.items():
                result = Case(case.tomogram, case.kind, case.n_clicks, case.seed, case.n_truth)
                score(result, segment(tomogram, prompts, config), points, truths, chosen.distance)
                found[name].append(result.f1)
            both = " | ".join(f"{values[-1]:.2f}" for values in found.values())
            print(f"| {folder.name} | {case.kind} | {case.seed} | {both} |", flush=True)
    for name, values in found.items():
        print(
            f"\n{name} {chosen.setting}: mean F1 {np.mean(values):.2f}, worst {np.min(values):.2f}, {len(values)} runs"
        )


if __name__ == "__main__":
    main()
