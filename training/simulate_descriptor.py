"""Make a pool of labelled boxes from simulated tilt series, for training the descriptor.

::

    python training/simulate_descriptor.py --out POOL --first 1000 --tomograms 170
    python training/simulate_descriptor.py --out VALIDATION --first 900000 --tomograms 12

Each tomogram has one to seven kinds of random complexes, membranes, filaments, gold, debris and a crowd. For up to four
of its kinds, one particle is clicked, as a user would: the boxes are at the peaks of the correlation with its radial
profile, and their size is in proportion to a diameter that is wrong by about a fifth. Nothing here is from a measured
structure.
"""

import argparse
from collections.abc import Callable
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from cryosam.arrays import Points, Volume
from cryosam.errors import ConfigError
from cryosam.evaluation.simulation import (
    Deconvolution,
    Simulated,
    SimulationConfig,
    TiltSeries,
    random_complex,
    simulate,
)
from cryosam.evaluation.simulation.complexes import copies_by_symmetry, protein_of_blobs
from cryosam.geometry import ball_diameter
from cryosam.matching.descriptors import DescribedBoxes
from cryosam.matching.radial_correlation import RadialCorrelation
from cryosam.missing_wedge import MissingWedge
from cryosam.tomogram import Tomogram

SHAPE = (72, 208, 208)
EDGE_PX = 24  # of the boxes: four pixels more than the network sees, so that they can be shifted
CLICKED, NOTHING = 0, -1  # labels: of the clicked kind, of no kind; other kinds are 1, 2, ...
_RIM_ANGSTROM = 19.0  # of a particle around the middles of its outermost blobs
_PROTEIN = 0.3  # voxels above this share of a density are protein
_MOST, _MOST_OTHERS, _MOST_NOTHING = 40, 36, 28  # boxes of the clicked kind, of others, and of nothing, for each click
_ON, _OFF = 0.3, 0.75  # diameters: a peak nearer than the first to a particle is on it; one between them is left out


def draw_density(rng: np.random.Generator, diameter_angstrom: float, voxel_size_angstrom: float) -> Volume:
    """Density of a random kind: a complex with symmetry, a hollow shell, a chain, or two or three lobes."""
    choice = rng.random()
    if choice < 0.6:
        return random_complex(int(rng.integers(2**31)), diameter_angstrom, voxel_size_angstrom)
    if choice < 0.72:
        subunits = rng.normal(size=(int(rng.integers(1, 3)), 3))
        subunits *= rng.uniform(0.8, 1, (len(subunits), 1)) / np.linalg.norm(subunits, axis=1, keepdims=True)
        blobs = copies_by_symmetry(subunits, str(rng.choice(["O", "I", "T", "D5", "D7", "C8"])))
    elif choice < 0.85:
        steps = rng.normal(size=(int(rng.integers(4, 12)), 3)) + 1.2 * rng.normal(size=3)
        blobs = np.cumsum(steps / np.linalg.norm(steps, axis=1, keepdims=True), axis=0)
        if rng.random() < 0.5:
            blobs = copies_by_symmetry(blobs + 2 * rng.normal(size=3), str(rng.choice(["C2", "C3", "D2"])))
    else:
        blobs = np.concatenate([_lobe(rng) for _ in range(int(rng.integers(2, 4)))])
    blobs = blobs - blobs.mean(axis=0)
    blobs *= max(diameter_angstrom / 2 - _RIM_ANGSTROM, _RIM_ANGSTROM / 3) / np.linalg.norm(blobs, axis=1).max()
    return protein_of_blobs(blobs, voxel_size_angstrom)


def _lobe(rng: np.random.Generator) -> Points:
    """Blobs in an ellipsoid."""
    directions = rng.normal(size=(int(rng.integers(6, 35)), 3))
    directions *= np.cbrt(rng.random((len(directions), 1))) / np.linalg.norm(directions, axis=1, keepdims=True)
    return 0.7 * rng.normal(size=3) + directions * rng.uniform(0.2, 0.9, 3)


def draw_tomogram(rng: np.random.Generator, seed: int) -> tuple[Simulated, dict[str, float], SimulationConfig] | None:
    """A tomogram, the diameters of its kinds in voxels, and how it was made; None if there was no room."""
    n_kinds = int(rng.choice([1, 3, 5, 6, 7], p=[0.2, 0.1, 0.2, 0.25, 0.25]))
    is_packed = n_kinds == 1 and rng.random() < 0.6  # a purified sample, whose particles touch
    typical = float(np.exp(rng.uniform(np.log(110), np.log(320))))
    voxel = typical / float(np.exp(rng.uniform(np.log(8), np.log(22))))
    sizes = typical * np.exp(rng.uniform(-0.45, 0.35, n_kinds))
    sizes[0] = typical
    maps = {f"kind{i}": draw_density(rng, float(size), voxel) for i, size in enumerate(sizes)}
    diameters = {
        name: ball_diameter(float(ndimage.binary_fill_holes(density > _PROTEIN).sum()))
        for name, density in maps.items()
    }
    share = rng.uniform(*((0.08, 0.25) if is_packed else (0.01, 0.06))) * np.prod(SHAPE) / n_kinds
    most = 40 if n_kinds > 1 else 600
    counts = {
        name: int(np.clip(share / (0.52 * max(d, 5) ** 3) * np.exp(0.4 * rng.normal()), 6, most))
        for name, d in diameters.items()
    }
    snr = float(np.exp(rng.uniform(np.log(0.06), np.log(0.8))))
    how = str(rng.choice(["plain", "deconvolved", "fourier"], p=[0.5, 0.33, 0.17]))
    series = None
    if how != "fourier":
        series = TiltSeries(
            defocus_jitter_um=float(rng.uniform(0, 0.3)),
            electrons_per_angstrom2=float(rng.uniform(2, 4)),
            thickness_angstrom=float(rng.uniform(800, 2500)),
            misalignment=float(rng.uniform(0, 0.7)),
            deconvolution=_draw_deconvolution(rng) if how == "deconvolved" else None,
        )
    n_vesicles, n_filaments, n_gold = (int(n) for n in rng.integers(0, 3, 3))
    n_debris, crowding = int(rng.integers(0, 40)), float(rng.choice([0, rng.uniform(0, 0.03)]))
    tilts = -float(rng.uniform(40, 66)), float(rng.uniform(40, 66))
    step, defocus = float(rng.choice([2.0, 3.0, 4.0])), float(rng.uniform(2, 6))
    smoothing = float(rng.choice([0, rng.uniform(0, 1.2)]))
    for _ in range(6):
        config = SimulationConfig(
            shape=SHAPE,
            voxel_size_angstrom=voxel,
            counts=counts,
            n_vesicles=n_vesicles,
            n_filaments=n_filaments,
            n_gold=n_gold,
            n_debris=n_debris,
            crowding=crowding,
            tilt_range_degrees=tilts,
            tilt_step_degrees=step,
            defocus_um=defocus,
            snr=snr if series else 0.4 * snr,
            smoothing=smoothing,
            tilt_series=series,
            contrast="bright",
            dtype="float32",
            seed=seed,
        )
        try:
            return simulate(config, maps), diameters, config
        except ConfigError:  # no room: try with less
            counts = {name: max(3, int(0.6 * n)) for name, n in counts.items()}
            crowding, n_debris, n_vesicles = 0.4 * crowding, n_debris // 2, max(0, n_vesicles - 1)
    return None


def _draw_deconvolution(rng: np.random.Generator) -> Deconvolution:
    """Parameters as programs offer them."""
    return Deconvolution(
        strength=float(rng.uniform(0.7, 1.2)),
        falloff_angstrom=float(rng.uniform(120, 300)),
        high_pass_angstrom=float(rng.uniform(600, 1500)),
    )


def make_boxes(job: tuple[Path, int]) -> None:
    """Make one tomogram, and write the boxes for up to four clicks in it."""
    folder, seed = job
    rng = np.random.default_rng(seed)
    drawn = draw_tomogram(rng, seed)
    if drawn is None:
        return
    simulated, diameters, config = drawn
    values = simulated.tomogram.data
    low, high = np.percentile(values[::2, ::3, ::3], (0.05, 99.95))
    values = np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
    if rng.random() < 0.15:  # as in files of few grey levels
        values = np.rint(values * rng.integers(8, 40))
        values = (values / values.max()).astype(np.float32)
    tomogram, wedge = Tomogram(values), MissingWedge(tilt_range=config.tilt_range_degrees)
    names, tree = np.array(simulated.names), cKDTree(simulated.points)
    for name in sorted(diameters, key=lambda _: rng.random())[:4]:
        mine = np.flatnonzero(names == name)
        if len(mine) < 5:
            continue
        diameter = float(np.clip(diameters[name] * np.exp(np.clip(0.18 * rng.normal(), -0.4, 0.4)), 6, 45))
        correlation = RadialCorrelation.of(tomogram, diameter, wedge)
        clicks = simulated.points[rng.choice(mine, int(rng.choice([1, 1, 4])), replace=False)]
        peaks, _ = correlation.peaks(correlation.profile(clicks), 0.7 * diameter)
        peaks = peaks[:600]
        distance, nearest = tree.query(peaks)
        is_on = distance < _ON * diameter
        is_mine = is_on & (names[nearest] == name)
        on_mine = np.flatnonzero(is_mine)[:_MOST]
        on_others = _some(rng, np.flatnonzero(is_on & ~is_mine), _MOST_OTHERS)
        on_nothing = _some(rng, np.flatnonzero(distance >= _OFF * diameter)[:60], _MOST_NOTHING)
        missed = mine[~np.isin(mine, nearest[on_mine])][:10]  # particles without a peak, seen as if they were clicked
        missed_at = simulated.points[missed] + 0.06 * diameter * rng.normal(size=(len(missed), 3))
        kinds = {each: i + 1 for i, each in enumerate(diameters)}
        labels = np.concatenate(
            [
                np.full(len(on_mine), CLICKED),
                [kinds[names[nearest[i]]] for i in on_others],
                np.full(len(on_nothing), NOTHING),
                np.full(len(missed), CLICKED),
            ]
        )
        if np.count_nonzero(labels == CLICKED) < 4:
            continue
        points = np.concatenate([peaks[np.concatenate([on_mine, on_others, on_nothing])], missed_at])
        boxes = DescribedBoxes.of(tomogram, diameter).cut(points, EDGE_PX)
        path = folder / f"{seed:06d}-{name}.npz"
        with path.with_suffix(".part").open("wb") as file:
            np.savez(file, boxes=boxes.half().numpy(), labels=labels.astype(np.int8), snr=config.snr)
        path.with_suffix(".part").rename(path)
    print(f"{seed}: {len(names)} particles, {config.voxel_size_angstrom:.1f} A, SNR {config.snr:.2f}", flush=True)


def _some(rng: np.random.Generator, indices: np.ndarray, most: int) -> np.ndarray:
    return rng.choice(indices, min(most, len(indices)), replace=False)


def make_pool(make: Callable[[tuple[Path, int]], None], about: str, first: int, tomograms: int) -> None:
    """Make the tomograms of a pool from the command line, in several processes; the defaults are the last two."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first", type=int, default=first, help="number and seed of the first tomogram")
    parser.add_argument("--tomograms", type=int, default=tomograms)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    jobs = [(arguments.out, arguments.first + i) for i in range(arguments.tomograms)]
    with Pool(arguments.processes) as pool:
        for _ in pool.imap(make, jobs):
            pass


if __name__ == "__main__":
    make_pool(make_boxes, __doc__.splitlines()[0], 1000, 170)
