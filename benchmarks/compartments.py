"""Compartments from clicks inside: volumes, leaks, and what clicks in the open give.

::

    python benchmarks/compartments.py DATA                       # all tomograms of the development data
    python benchmarks/compartments.py DATA --only structures --clicks 10

The truth of a vesicle is what its labelled membrane encloses, without the membrane; where the border of the tomogram
cuts a vesicle, the border closes it. Vesicles of ``tomo_dev`` cross each other: there the union of what is found is
compared. A click is random in a lumen, at least three voxels from the membrane. A leak is a volume of more than twice
the truth. "open" are clicks that were answered with "open compartment": wrong in a lumen, right in the open. "found"
is from one click, with all others like it. The centres of the vesicles of ``real/exosomes`` were set by eye; there a
compartment is plausible if a ball of its volume is 70 to 200 nm wide.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from cryosam import Config, read_points, read_tomogram
from cryosam.arrays import Mask, Points
from cryosam.config import CompartmentConfig
from cryosam.errors import PromptError
from cryosam.intensities import normalise
from cryosam.io import read_volume
from cryosam.missing_wedge import settle_wedge
from cryosam.power_spectrum import PowerSpectrum
from cryosam.structure_results import Compartment
from cryosam.structures import BinnedTomogram
from cryosam.structures.compartments import CompartmentFinder, CompartmentSearch, Judged

_SIMULATED = ("structures", "tilt_wbp", "tilt_deconv", "tomo_dev")
_PLAUSIBLE_NM = (70.0, 200.0)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the development data")
    parser.add_argument("--clicks", type=int, default=10, help="number of clicks in each vesicle")
    parser.add_argument("--only", help="name of one tomogram")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    for name in _SIMULATED:
        if chosen.only in (None, name):
            _simulated(chosen.folder / name, chosen.clicks, np.random.default_rng(chosen.seed))
    if chosen.only in (None, "exosomes"):
        _exosomes(chosen.folder / "real/exosomes.mrc", chosen.folder / "real/exosomes_vesicles.csv")


def _open(path: Path) -> tuple[BinnedTomogram, CompartmentSearch]:
    """A tomogram and its membranes."""
    start, tomogram = time.perf_counter(), read_tomogram(path)
    wedge = settle_wedge(PowerSpectrum.of(tomogram), Config().tomogram).wedge
    binned = BinnedTomogram.of(normalise(tomogram, "dark", Config().tomogram.percentiles), wedge)
    search = CompartmentSearch.of(CompartmentConfig(), binned)
    print(f"\n{path.parent.name}/{path.name}: membranes in {time.perf_counter() - start:.0f} s\n")
    return binned, search


def _simulated(folder: Path, n_clicks: int, random: np.random.Generator) -> None:
    """Print what clicks in vesicles with a truth, and in the open, give."""
    tomogram, search = _open(folder / "tomo.mrc")
    is_membrane = np.asarray(read_volume(folder / "labels.mrc.gz")) == 99
    numbers = np.asarray(read_volume(folder / "instances.mrc.gz"))
    lumina = list(_lumina(is_membrane, numbers))
    is_lumen = np.any([each for _, each, _ in lumina], axis=0)
    print("| vesicle | clicks | Dice | volume error | leaks | open | s a click |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    if folder.name == "tomo_dev":
        lumina = [("both", is_lumen, False)]
    for name, lumen, is_cut in lumina:
        start, found = time.perf_counter(), []
        for click in _inside(lumen, n_clicks, random):
            try:
                found.append(_mask(search, search.around_click(click)))
            except PromptError:
                continue
        seconds = (time.perf_counter() - start) / n_clicks
        if folder.name == "tomo_dev":
            found = [np.any(found, axis=0)]
        dice = np.array([2 * (each & lumen).sum() / (each.sum() + lumen.sum()) for each in found])
        ratio = np.array([each.sum() / lumen.sum() for each in found])
        cells = [
            f"{name}{', cut' if is_cut else ''}",
            str(n_clicks),
            f"{np.mean(dice):.2f} (worst {np.min(dice):.2f})",
            f"{np.mean(np.abs(ratio - 1)):.0%} (worst {np.max(np.abs(ratio - 1)):.0%})",
            str(int((ratio > 2).sum())),
            str(n_clicks - len(found)) if folder.name != "tomo_dev" else "",
            f"{seconds:.1f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
    outside = _inside(~is_lumen & ~is_membrane, n_clicks, random)
    n_open = 0
    for click in outside:
        try:
            search.around_click(click)
        except PromptError:
            n_open += 1
    print(f"\nclicks in the open: {n_open} of {len(outside)} answered with open compartment")
    click = _inside(lumina[0][1], 1, random)
    start, all_found = time.perf_counter(), CompartmentFinder().find(tomogram, click)
    overlaps = [max(_dice(found, lumen) for found in all_found) for _, lumen, _ in lumina]
    print(
        f"from one click: {len(all_found)} found in {time.perf_counter() - start:.0f} s; best Dice of each vesicle: "
        + ", ".join(f"{each:.2f}" for each in overlaps)
    )


def _mask(search: CompartmentSearch, judged: Judged) -> Mask:
    """The compartment as a volume."""
    out = np.zeros(search.tomogram.shape, dtype=bool)
    mask = search.compartment(judged).mask
    out[mask.box] = mask.data
    return out


def _dice(found: Compartment, truth: Mask) -> float:
    shared = int((truth[found.mask.box] & found.mask.data).sum())
    return 2 * shared / (found.mask.n_voxels + int(truth.sum()))


def _lumina(is_membrane: Mask, numbers: np.ndarray) -> Iterator[tuple[str, Mask, bool]]:
    """What each labelled membrane encloses, and whether the border cuts it."""
    for number in np.unique(numbers[is_membrane]):
        parts, n_parts = ndimage.label(~(is_membrane & (numbers == number)))
        sizes = np.bincount(parts.ravel())[1:]
        for part in range(1, n_parts + 1):
            if sizes[part - 1] < max(sizes) and sizes[part - 1] > 1000:
                lumen = parts == part
                inner = lumen[1:-1, 1:-1, 1:-1]
                yield f"{number}", lumen, bool(lumen.sum() > inner.sum())


def _inside(mask: Mask, n: int, random: np.random.Generator) -> Points:
    """Random voxels of a mask, at least three from its edge."""
    deep = np.argwhere(ndimage.distance_transform_edt(mask) > 3)
    return deep[random.permutation(len(deep))[:n]].astype(float)


def _exosomes(path: Path, centres: Path) -> None:
    """Print what clicks at the centres of vesicles of a real tomogram give."""
    _, search = _open(path)
    clicks = read_points(centres).points
    print("| click | diameter nm | membrane measured | cut |")
    print("| --- | --- | --- | --- |")
    n_plausible = 0
    for click in clicks:
        try:
            found = search.compartment(search.around_click(click))
        except PromptError:
            print(f"| {', '.join(f'{c:.0f}' for c in click)} | open | | |")
            continue
        diameter = 2 * (found.volume_angstrom3 * 3 / 4 / np.pi) ** (1 / 3) / 10
        n_plausible += _PLAUSIBLE_NM[0] <= diameter <= _PLAUSIBLE_NM[1]
        at = ", ".join(f"{c:.0f}" for c in click)
        print(f"| {at} | {diameter:.0f} | {found.score:.0%} | {'yes' if found.is_cut else 'no'} |", flush=True)
    print(f"\nplausible: {n_plausible} of {len(clicks)}")
    for click in clicks[:: max(len(clicks) // 5, 1)]:
        try:
            judged = search.around_click(click)
        except PromptError:
            continue
        found_all = search.compartments([judged], search.others([judged]))
        hit = sum(any(each.mask.holds(centre) for each in found_all) for centre in clicks)
        at = ", ".join(f"{c:.0f}" for c in click)
        print(f"from the click {at}: {len(found_all)} found, which hold {hit} of {len(clicks)} centres", flush=True)


if __name__ == "__main__":
    main()
