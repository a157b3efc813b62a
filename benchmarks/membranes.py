"""Membranes from one click: how many are found, how near, how long it takes, and how many vesicles come out closed.

::

    CRYOSAM_DATA=data python benchmarks/membranes.py
    python benchmarks/membranes.py --large

Five clicks on each simulated tomogram, on random voxels of the membranes' middle. A voxel that is found is right within
40 angstrom of the middle of a true membrane; precision, recall (of voxels of the middle within 40 angstrom of one that
is found) and F are of voxels that were measured, without those that were inferred. Dice compares all voxels, inferred
ones too, with the true mask. "refused" clicks end with an error that says what to do. Of the exosomes, a centre counts
if it lies inside a closed membrane. ``--large`` measures seconds and memory on a volume of 200 x 928 x 960 voxels that
is tiled from a small one with its vesicles.
"""

import argparse
import os
import resource
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from cryosam import Tomogram, read_tomogram
from cryosam.config import Config
from cryosam.errors import PromptError
from cryosam.intensities import normalise
from cryosam.io import read_volume
from cryosam.missing_wedge import settle_wedge
from cryosam.power_spectrum import PowerSpectrum
from cryosam.structure_results import Membrane, Mesh
from cryosam.structures.binned import BinnedTomogram
from cryosam.structures.membranes import MembraneFinder

_SIMULATED = ("structures", "tomo_dev", "tilt_wbp")
_MEMBRANE = 99
_NEAR = 40.0  # angstrom
_EXOSOMES = ((48, 66, 160), (48, 97, 85), (48, 125, 242))  # on walls that are clear in a slice, chosen by eye


def opened(tomogram: Tomogram) -> BinnedTomogram:
    """The tomogram as the search for structures sees it."""
    voxels = normalise(tomogram, "dark", Config().tomogram.percentiles)
    return BinnedTomogram.of(voxels, settle_wedge(PowerSpectrum.of(tomogram), Config().tomogram).wedge)


def painted(found: tuple[Membrane, ...], shape: tuple[int, int, int], *, has_inferred: bool) -> np.ndarray:
    """The voxels of all membranes."""
    out = np.zeros(shape, dtype=bool)
    for each in found:
        for mask in (each.mask, each.inferred) if has_inferred else (each.mask,):
            out[mask.box] |= mask.data
    return out


def scores(found: tuple[Membrane, ...], truth: np.ndarray, middle: np.ndarray, size: float) -> tuple[float, ...]:
    """Precision, recall, F and Dice."""
    mine = painted(found, truth.shape, has_inferred=False)
    precision = float((ndimage.distance_transform_edt(~middle)[mine] * size <= _NEAR).mean()) if mine.any() else 0.0
    recall = float((ndimage.distance_transform_edt(~mine)[middle] * size <= _NEAR).mean()) if mine.any() else 0.0
    f = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    whole = painted(found, truth.shape, has_inferred=True)
    return precision, recall, f, 2 * float((whole & truth).sum()) / float(whole.sum() + truth.sum())


def middle_of(truth: np.ndarray) -> np.ndarray:
    """The inner voxels of a mask: those at least 0.6 of the half thickness from its border."""
    depth = ndimage.distance_transform_edt(truth)
    return depth >= 0.6 * np.percentile(depth[truth], 90)


def simulated(folder: Path, n_clicks: int) -> None:
    """Print one line for each click, and the mean of those that were answered."""
    tomogram = read_tomogram(folder / "tomo.mrc")
    scene = opened(tomogram)
    truth = np.asarray(read_volume(next(folder.glob("labels.mrc*")))) == _MEMBRANE
    middle = middle_of(truth)
    places = np.argwhere(middle)
    rows = []
    for click in places[np.random.default_rng(0).choice(len(places), n_clicks, replace=False)].astype(float):
        start = time.perf_counter()
        try:
            found = MembraneFinder().find(scene, click[None])
        except PromptError as error:
            print(f"{folder.name:12} click {click} refused: {error}")
            continue
        seconds = time.perf_counter() - start
        rows.append((*scores(found, truth, middle, scene.voxel_size_angstrom), seconds))
        p, r, f, dice, _ = rows[-1]
        n_closed = sum(each.is_closed for each in found)
        print(
            f"{folder.name:12} click {click}: precision {p:.3f}, recall {r:.3f}, F {f:.3f}, Dice {dice:.3f}, "
            f"{len(found)} membranes, {n_closed} closed, {seconds:.1f} s",
            flush=True,
        )
        if len(rows) == 1:
            volumes(found, truth, scene.voxel_size_angstrom)
    p, r, f, dice, seconds = np.mean(rows, axis=0)
    print(
        f"{folder.name:12} mean of {len(rows)}: precision {p:.3f}, recall {r:.3f}, F {f:.3f}, Dice {dice:.3f}, "
        f"{seconds:.1f} s, peak memory {memory():.1f} GB\n"
    )


def volumes(found: tuple[Membrane, ...], truth: np.ndarray, size: float) -> None:
    """Print the volume within each closed membrane, up to its middle, and that of the true one."""
    holes, n = ndimage.label(~ndimage.binary_dilation(truth))
    sizes = np.bincount(holes.ravel(), minlength=n + 1)
    for each in found:
        if not each.is_closed:
            continue
        z, y, x = np.round(each.mesh.vertices.mean(axis=0)).astype(int)
        label = holes[z, y, x]
        if label == 0 or sizes[label] == sizes[1:].max():
            continue
        lumen = ndimage.distance_transform_edt(holes != label)
        wall = (lumen > 0) & ndimage.binary_dilation(truth)
        wall &= lumen <= 2 * np.median(lumen[truth & (lumen < 12)])
        true = (sizes[label] + wall.sum() / 2) * size**3
        print(f"             volume {each.enclosed_angstrom3 / 1e3:.0f} nm3, true {true / 1e3:.0f} nm3")


def memory() -> float:
    """Peak memory of the process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def holds(mesh: Mesh, point: np.ndarray) -> bool:
    """Whether a closed mesh encloses a point: the solid angle that it covers is that of a sphere."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] - point for k in range(3))
    la, lb, lc = (np.linalg.norm(each, axis=1) for each in (a, b, c))
    triple = np.einsum("ni,ni->n", a, np.cross(b, c))
    dots = [np.einsum("ni,ni->n", p, q) * length for p, q, length in ((a, b, lc), (b, c, la), (c, a, lb))]
    return bool(abs(2 * np.arctan2(triple, la * lb * lc + sum(dots)).sum()) > 2 * np.pi)


def exosomes(folder: Path) -> None:
    """Print how many vesicles of the real tomogram are closed, for each click."""
    tomogram = read_tomogram(folder / "exosomes.mrc")
    centres = np.loadtxt(folder / "exosomes_vesicles.csv", delimiter=",", skiprows=1, usecols=(0, 1, 2))
    scene = opened(tomogram)
    for click in _EXOSOMES:
        start = time.perf_counter()
        found = MembraneFinder().find(scene, np.array([click], dtype=float))
        seconds = time.perf_counter() - start
        closed = [each.mesh for each in found if each.is_closed]
        n = sum(any(holds(mesh, centre) for mesh in closed) for centre in centres)
        print(
            f"exosomes     click {click}: {n} of {len(centres)} centres in a closed membrane, {len(closed)} closed, "
            f"{len(found)} membranes, {seconds:.1f} s, peak memory {memory():.1f} GB",
            flush=True,
        )


def large(folder: Path) -> None:
    """Print seconds and memory for a large volume: copies of a small one, mirrored so that membranes continue."""
    small = np.asarray(read_tomogram(folder / "structures" / "tomo.mrc").data)
    shape = (200, 928, 960)
    padding = [(0, n - m) for n, m in zip(shape, small.shape, strict=True)]
    scene = opened(Tomogram(np.pad(small, padding, mode="symmetric"), voxel_size_angstrom=10.0))
    before, start, busy = memory(), time.perf_counter(), time.process_time()
    found = MembraneFinder().find(scene, np.array([[71.0, 210.0, 266.0]]))
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    print(
        f"{shape}: {len(found)} membranes, {sum(each.is_closed for each in found)} closed, {seconds:.0f} s, "
        f"{busy:.0f} s of processor time, peak memory {memory():.1f} GB ({before:.1f} GB before the search)"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("CRYOSAM_DATA", str(Path(__file__).parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default), help="folder with the development data")
    parser.add_argument("--clicks", type=int, default=5, help="clicks on each simulated tomogram")
    parser.add_argument("--large", action="store_true", help="measure seconds and memory on a large volume instead")
    arguments = parser.parse_args()
    if arguments.large:
        large(arguments.data)
        return
    for name in _SIMULATED:
        simulated(arguments.data / name, arguments.clicks)
    exosomes(arguments.data / "real")


if __name__ == "__main__":
    main()
