"""Structures that are clicked in one tomogram and found in others, compared with a click in each.

::

    CRYOSAM_DATA=data python benchmarks/structure_queries.py
    CRYOSAM_DATA=data python benchmarks/structure_queries.py --clicks 3 --only membrane

Kinds are described at random clicks (fixed seed) in ``structures`` and searched for in all tomograms that have such
structures: with voxels as they are, and after binning two voxels to one. Membranes: precision, recall and F of voxels
within 40 angstrom of the middle of a true membrane, as in ``membranes.py``. Filaments: precision, recall and F of the
length, as in ``filaments.py``. "click" is a click in the same tomogram. Tomograms without the structure come last: what
is found there is false.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from cryosam import Tomogram, read_tomogram
from cryosam.errors import PromptError
from cryosam.io import read_volume
from cryosam.structures import BinnedTomogram
from cryosam.structures.filaments import FilamentFinder
from cryosam.structures.membranes import MembraneFinder
from filaments import WALL, compare, draw_clicks, open_binned, read_kinds
from membranes import middle_of, opened, scores

_SOURCE = "structures"
_MEMBRANES = ("structures", "tomo_dev", "tilt_wbp")
_TUBES = ("structures", "tilt_wbp", "tilt_deconv")
_NO_MEMBRANES = ("real/apoferritin.mrc", "microtubule_13pf.tif")
_NO_TUBES = ("tomo_dev/tomo.mrc", "real/apoferritin.mrc", "real/exosomes.mrc")
_MEMBRANE = 99


def halved(tomogram: Tomogram) -> Tomogram:
    """Means of two voxels along each axis."""
    z, y, x = (n // 2 * 2 for n in tomogram.shape)
    data = np.asarray(tomogram.data[:z, :y, :x], dtype=np.float32)
    data = data.reshape(z // 2, 2, y // 2, 2, x // 2, 2).mean(axis=(1, 3, 5))
    return Tomogram(data, 2 * (tomogram.voxel_size_angstrom or 1.0), tomogram.name)


def membranes(folder: Path, n_clicks: int) -> None:
    """Print how well membranes are found."""
    finder = MembraneFinder()
    scenes: dict[str, tuple[BinnedTomogram, np.ndarray]] = {}
    for name in _MEMBRANES:
        tomogram = read_tomogram(folder / name / "tomo.mrc")
        truth = np.asarray(read_volume(next((folder / name).glob("labels.mrc*")))) == _MEMBRANE
        scenes[name] = (opened(tomogram), truth)
        if name != _SOURCE:
            z, y, x = (n // 2 * 2 for n in truth.shape)
            small = truth[:z, :y, :x].reshape(z // 2, 2, y // 2, 2, x // 2, 2).mean(axis=(1, 3, 5)) >= 0.5
            scenes[f"{name}, binned"] = (opened(halved(tomogram)), small)
    source, truth = scenes[_SOURCE]
    for click in drawn(truth, n_clicks):
        kind = finder.describe(source, click[None])
        for name, (scene, true) in scenes.items():
            middle = middle_of(true)
            start = time.perf_counter()
            found = finder.search(scene, kind)
            seconds = time.perf_counter() - start
            mine = scores(found, true, middle, scene.voxel_size_angstrom)
            say("membrane", name, "query", mine[:3], len(found), seconds)
            try:
                here = finder.find(scene, drawn(true, 1))
                say("membrane", name, "click", scores(here, true, middle, scene.voxel_size_angstrom)[:3], len(here))
            except PromptError as error:
                print(f"membrane  {name:20} click: refused: {error}", flush=True)
        for name in _NO_MEMBRANES:
            found = finder.search(opened(read_tomogram(folder / name)), kind)
            area = sum(each.area_angstrom2 for each in found) / 100
            print(f"membrane  {name:20} query: {len(found)} false, {area:.0f} nm2", flush=True)


def drawn(truth: np.ndarray, n: int) -> np.ndarray:
    """Random voxels of the middle of membranes."""
    places = np.argwhere(middle_of(truth) & ndimage.binary_erosion(np.ones(truth.shape, dtype=bool), iterations=5))
    return places[np.random.default_rng(0).choice(len(places), n, replace=False)].astype(float)


def filaments(folder: Path, n_clicks: int) -> None:
    """Print how well microtubules are found."""
    finder = FilamentFinder()
    _, source = open_binned(folder / _SOURCE / "tomo.mrc")
    lines = read_kinds(folder / _SOURCE / "filaments.csv")["tube"]
    for click in draw_clicks(lines, WALL["tube"] / source.voxel_size_angstrom, n_clicks, np.random.default_rng(0)):
        kind = finder.describe(source, click[None])
        for name in _TUBES:
            _, scene = open_binned(folder / name / "tomo.mrc")
            true = read_kinds(folder / name / "filaments.csv")["tube"]
            start = time.perf_counter()
            found = finder.search(scene, kind)
            seconds = time.perf_counter() - start
            for way, answer in (("query", found), ("click", finder.find(scene, true[0][len(true[0]) // 2][None]))):
                figures = compare([each.points for each in answer], true, scene.voxel_size_angstrom)
                values = tuple(figures[key] for key in ("precision", "recall", "F"))
                say("filament", name, way, values, len(answer), seconds if way == "query" else None)
        for name in _NO_TUBES:
            _, scene = open_binned(folder / name)
            found = finder.search(scene, kind)
            length = sum(each.length_angstrom for each in found) / 10
            print(f"filament  {name:20} query: {len(found)} false, {length:.0f} nm", flush=True)


def say(
    structure: str, name: str, way: str, values: tuple[float, ...], n_found: int, seconds: float | None = None
) -> None:
    """Print one line."""
    precision, recall, f = values
    took = "" if seconds is None else f", {seconds:.0f} s"
    print(
        f"{structure:9} {name:20} {way}: precision {precision:.2f}, recall {recall:.2f}, F {f:.2f}, "
        f"{n_found} found{took}",
        flush=True,
    )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, default=1)
    parser.add_argument("--only", choices=["membrane", "filament"])
    given = parser.parse_args()
    folder = Path(os.environ["CRYOSAM_DATA"])
    if given.only != "filament":
        membranes(folder, given.clicks)
    if given.only != "membrane":
        filaments(folder, given.clicks)


if __name__ == "__main__":
    main()
