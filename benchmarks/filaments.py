"""One click on a filament: how much of all filaments of its kind is traced, and how well.

::

    python benchmarks/filaments.py DATA                      # five clicks a kind, and the real microtubule
    python benchmarks/filaments.py DATA --pictures pictures  # and pictures of the first click of each
    python benchmarks/filaments.py DATA --large              # time and memory for 200 x 928 x 960 voxels

Folders of simulated tomograms with ``tomo.mrc`` and ``filaments.csv`` (name, instance, z, y, x along each) are looked
for in the given one. Clicks are random (fixed seed): on a tube up to its wall's radius off the axis, on actin up to 20
angstrom off. Precision is the share of the traced length within 40 angstrom of a true line, recall the share of the
true length within 40 angstrom of a traced one. A merge is a traced filament on more than one true one, a split a true
one with more than one traced. Tangents are compared where lines are within 40 angstrom.
"""

import argparse
import csv
import resource
import time
from pathlib import Path

import numpy as np
from PIL import Image

from cryosam import read_tomogram
from cryosam.arrays import Points
from cryosam.config import Config
from cryosam.errors import PromptError
from cryosam.evaluation.filaments import score_filaments
from cryosam.intensities import detect_contrast, normalise
from cryosam.io.lines import read_lines
from cryosam.missing_wedge import settle_wedge
from cryosam.power_spectrum import PowerSpectrum
from cryosam.structure_results import Filament
from cryosam.structures import BinnedTomogram
from cryosam.structures.filaments import FilamentFinder
from cryosam.structures.straightened import straighten
from cryosam.tomogram import Tomogram

TOLERANCE = 40.0  # angstrom
WALL = {"tube": 105.0, "actin": 20.0}  # angstrom: how far off the axis a click may be
REAL_CLICK = (18.0, 83.0, 69.0)  # z, y, x in microtubule_13pf.tif


def compare(found: list[Points], true: list[Points], voxel_size: float) -> dict[str, float]:
    """The figures of one click."""
    scores = score_filaments(found, true, voxel_size, tolerance_angstrom=TOLERANCE)
    return {
        "precision": scores.precision,
        "recall": scores.recall,
        "F": scores.f1,
        "distance": scores.mean_distance_angstrom if scores.mean_distance_angstrom is not None else np.nan,
        "angle": scores.tangent_error_degrees if scores.tangent_error_degrees is not None else np.nan,
        "merges": scores.n_merges,
        "splits": scores.n_splits,
    }


def open_binned(path: Path) -> tuple[Tomogram, BinnedTomogram]:
    """A tomogram as finders take it; its contrast and its wedge are measured."""
    tomogram, config = read_tomogram(path), Config().tomogram
    contrast = detect_contrast(tomogram, np.zeros((0, 3))).contrast
    wedge = settle_wedge(PowerSpectrum.of(tomogram), config).wedge
    return tomogram, BinnedTomogram.of(normalise(tomogram, contrast, config.percentiles), wedge)


def read_kinds(path: Path) -> dict[str, list[Points]]:
    """True lines by kind."""
    with path.open() as file:
        names = sorted({row["name"] for row in csv.DictReader(file)})
    return {name: read_lines(path, name) for name in names}


def draw_clicks(lines: list[Points], off_voxels: float, n: int, rng: np.random.Generator) -> Points:
    """Random places on lines, off the axis by up to a distance."""
    clicks = []
    for _ in range(n):
        line = lines[rng.integers(len(lines))]
        index = int(rng.integers(len(line) // 10, len(line) - len(line) // 10))
        tangent = line[index + 1] - line[index - 1]
        tangent /= np.linalg.norm(tangent)
        offset = rng.normal(size=3)
        offset -= (offset @ tangent) * tangent
        clicks.append(line[index] + offset / np.linalg.norm(offset) * rng.uniform(0, off_voxels))
    return np.array(clicks)


def draw(tomogram: BinnedTomogram, found: tuple[Filament, ...], path: Path) -> None:
    """The mean over the middle half of the volume along each axis, plain and with the centre lines in colours."""
    volume = tomogram.at(tomogram.voxel_size_angstrom).data
    panels = []
    for axis in range(3):
        n = volume.shape[axis]
        image = np.take(volume, range(n // 4, 3 * n // 4), axis=axis).mean(axis=axis)
        dark, bright = np.percentile(image, [1, 99.7])
        grey = (255 * np.clip((image - dark) / (bright - dark), 0, 1)).astype(np.uint8)
        plain = np.repeat(np.repeat(np.repeat(grey[..., None], 3, axis=-1), 2, axis=0), 2, axis=1)
        coloured = plain.copy()
        for number, each in enumerate(found):
            track = np.linspace(0, len(each.points) - 1, 8 * len(each.points))
            dense = np.stack([np.interp(track, np.arange(len(each.points)), c) for c in each.points.T], axis=1)
            flat = np.rint(2 * np.delete(dense, axis, axis=1)).astype(int)
            for shift in np.ndindex(3, 3):
                moved = flat + shift
                moved = moved[((moved >= 0) & (moved < coloured.shape[:2])).all(axis=1)]
                coloured[tuple(moved.T)] = [(255, 140, 0), (0, 200, 255), (120, 255, 80), (255, 80, 200)][number % 4]
        panels.append(np.concatenate([plain, coloured], axis=1))
    canvas = np.full((sum(p.shape[0] for p in panels), max(p.shape[1] for p in panels), 3), 255, dtype=np.uint8)
    top = 0
    for panel in panels:
        canvas[top : top + panel.shape[0], : panel.shape[1]] = panel
        top += panel.shape[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(canvas).save(path)


def run_folder(folder: Path, n_clicks: int, pictures: Path | None, only_kind: str | None) -> None:
    """All kinds of one simulated tomogram."""
    tomogram, binned = open_binned(folder / "tomo.mrc")
    for kind, lines in read_kinds(folder / "filaments.csv").items():
        if only_kind not in (None, kind):
            continue
        rng = np.random.default_rng(0)
        rows = []
        for index, click in enumerate(draw_clicks(lines, WALL[kind] / binned.voxel_size_angstrom, n_clicks, rng)):
            start, before = time.perf_counter(), time.process_time()
            try:
                found = FilamentFinder().find(binned, click[None])
            except PromptError as error:
                print(f"  refused: {error}")
                found = ()
            seconds, busy = time.perf_counter() - start, time.process_time() - before
            row = compare([each.points for each in found], lines, binned.voxel_size_angstrom) | {
                "seconds": seconds,
                "processor seconds": busy,
            }
            rows.append(row)
            place = ",".join(f"{c:.0f}" for c in click)
            print(f"  {place}: " + ", ".join(f"{name} {value:.3g}" for name, value in row.items()), flush=True)
            if pictures is not None and index == 0:
                draw(binned, found, pictures / f"{folder.name}_{kind}.png")
        mean = {name: np.nanmean([row[name] for row in rows]) for name in rows[0]}
        print(f"{tomogram.name} {folder.name}, {kind}, {len(lines)} filaments, mean of {n_clicks} clicks: ", end="")
        print(", ".join(f"{name} {value:.3g}" for name, value in mean.items()), flush=True)


def run_real(path: Path, pictures: Path | None) -> None:
    """The real microtubule: how much of the length is traced."""
    tomogram, binned = open_binned(path)
    start = time.perf_counter()
    found = FilamentFinder().find(binned, np.array([REAL_CLICK]))
    print(f"{path.name}: {len(found)} filaments in {time.perf_counter() - start:.1f} s")
    for each in found:
        covered = np.ptp(each.points[:, 1]) + 1
        print(
            f"  from y = {each.points[:, 1].min():.0f} to {each.points[:, 1].max():.0f} of {tomogram.shape[1]} "
            f"({covered / tomogram.shape[1]:.0%}), radius {each.radius_angstrom:.0f} angstrom, score {each.score:.2f}"
        )
        made = straighten(binned, each)
        line = (
            f"strongest layer line {made.repeat.angstrom:.1f} angstrom, {made.repeat.excess:.1f} times its surroundings"
        )
        chance = f"chance up to {made.repeat.chance_excess:.1f} in {made.repeat.n_chance}"
        print(f"  densest at {made.densest_radius_angstrom:.0f} angstrom; {line}; {chance}")
    if pictures is not None:
        draw(binned, found, pictures / "microtubule_13pf.png")


def run_large(folder: Path, shape: tuple[int, int, int] = (200, 928, 960)) -> None:
    """Time and peak memory on a simulated tomogram, repeated (mirrored, so that it is continuous) to a large one."""
    small, _ = open_binned(folder / "tomo.mrc")
    pads = [(0, max(n - m, 0)) for n, m in zip(shape, small.shape, strict=True)]
    tiled = Tomogram(np.pad(small.data, pads, mode="symmetric"), small.voxel_size_angstrom)
    voxels = normalise(tiled, "dark", Config().tomogram.percentiles)
    binned = BinnedTomogram.of(voxels, settle_wedge(PowerSpectrum.of(tiled), Config().tomogram).wedge)
    for kind, lines in read_kinds(folder / "filaments.csv").items():
        click = draw_clicks(lines, WALL[kind] / binned.voxel_size_angstrom, 1, np.random.default_rng(0))
        start, before = time.perf_counter(), time.process_time()
        found = FilamentFinder().find(binned, click)
        seconds, busy = time.perf_counter() - start, time.process_time() - before
        gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{shape}, {kind}: {len(found)} filaments, {seconds:.0f} s ({busy:.0f} s of processor), "
            f"peak {gigabytes:.2f} GiB",
            flush=True,
        )


def main() -> None:
    """Run on all data of the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--clicks", type=int, default=5)
    parser.add_argument("--only", help="name of one folder, or of the real tomogram")
    parser.add_argument("--kind", help="tube or actin")
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--large", action="store_true")
    arguments = parser.parse_args()
    if arguments.large:
        run_large(arguments.data / "structures")
        return
    for truth in sorted(arguments.data.glob("*/filaments.csv")):
        if arguments.only in (None, truth.parent.name):
            run_folder(truth.parent, arguments.clicks, arguments.pictures, arguments.kind)
    real = arguments.data / "microtubule_13pf.tif"
    if real.exists() and arguments.only in (None, real.name):
        run_real(real, arguments.pictures)


if __name__ == "__main__":
    main()
