"""How far traced filaments reach beyond their ends, or stop before them: simulated ones that end inside the tomogram.

::

    python benchmarks/filament_ends.py

Four straight filaments in noise, tubes or thin ones, with or without the missing wedge (then along the tilt axis);
voxels of 20 angstrom, one click on the middle of the first. The overshoot is along the filament, in angstrom; negative
where the traced line is too short. A tip more than 200 angstrom from every true end, in the middle of a filament that
was found in pieces, counts as lost.
"""

import numpy as np
from scipy import ndimage

from cryosam.arrays import Points, Volume
from cryosam.config import FilamentConfig
from cryosam.errors import PromptError
from cryosam.intensities import normalise
from cryosam.missing_wedge import MissingWedge
from cryosam.structures import BinnedTomogram
from cryosam.structures.filaments import FilamentFinder
from cryosam.tomogram import Tomogram

SHAPE = (50, 110, 90)
VOXEL = 20.0  # angstrom
MIDDLES = ((14, 18), (36, 30), (20, 48), (34, 70))  # z, x of each filament
LOST = 200.0  # angstrom


def make_volume(seed: int, radius: float, noise: float, *, has_wedge: bool) -> tuple[Volume, list[Points]]:
    """Protein bright, and both ends of each filament; a radius of 0 is a thin filament."""
    rng = np.random.default_rng(seed)
    grid = np.moveaxis(np.indices(SHAPE), 0, -1).astype(float)
    volume, ends = np.zeros(SHAPE), []
    for z, x in MIDDLES:
        way = np.array([rng.uniform(-0.1, 0.1), 1, rng.uniform(-0.15, 0.15)])
        way /= np.linalg.norm(way)
        middle, half = np.array([z, SHAPE[1] / 2, x]), rng.uniform(18, 38)
        offset = grid - middle
        along = offset @ way
        across = np.linalg.norm(offset - along[..., None] * way, axis=-1)
        density = 3 * np.exp(-((across - radius) ** 2) / 2) if radius else 4 * np.exp(-(across**2) / 3)
        volume += density / (1 + np.exp((np.abs(along) - half) / 0.35))
        ends.append(np.stack([middle - half * way, middle + half * way]))
    volume += noise * ndimage.gaussian_filter(rng.normal(size=SHAPE), 0.6) / 0.35
    if has_wedge:
        sampled = MissingWedge().is_sampled(*np.meshgrid(*map(np.fft.fftfreq, SHAPE), indexing="ij"))
        sampled.flat[0] = True
        volume = np.fft.ifftn(np.fft.fftn(volume) * sampled).real
    return volume.astype(np.float32), ends


def overshoots(seed: int, radius: float, noise: float, *, has_wedge: bool) -> list[float]:
    """Of all tips of what is found from one click, angstrom."""
    volume, ends = make_volume(seed, radius, noise, has_wedge=has_wedge)
    wedge = MissingWedge() if has_wedge else MissingWedge(tilt_range=(-90.0, 90.0))
    tomogram = BinnedTomogram.of(normalise(Tomogram(volume, VOXEL), "bright", (0, 100)), wedge)
    try:
        found = FilamentFinder(FilamentConfig(n_directions=80)).find(tomogram, ends[0].mean(axis=0)[None])
    except PromptError as error:
        print(f"  refused: {error}")
        return []
    values = []
    for tip in (tip for each in found for tip in (each.points[0], each.points[-1])):
        pairs = [(pair[k], pair[1 - k]) for pair in ends for k in (0, 1)]
        end, other = min(pairs, key=lambda pair: float(np.linalg.norm(pair[0] - tip)))
        values.append(float((tip - end) @ (end - other) / np.linalg.norm(end - other)) * VOXEL)
    return values


def main() -> None:
    """Print the overshoot for each kind of filament."""
    for name, radius in (("thin", 0.0), ("tube", 6.0)):
        for has_wedge in (False, True):
            for noise in (1.0, 2.0):
                tips = np.concatenate([overshoots(k, radius, noise, has_wedge=has_wedge) for k in range(4)])
                kept = tips[np.abs(tips) <= LOST]
                low, middle, high = np.percentile(kept, [10, 50, 90])
                print(
                    f"{name}, {'wedge' if has_wedge else 'all tilts'}, noise {noise:g}: {len(tips)} tips, "
                    f"{len(tips) - len(kept)} lost; overshoot median {middle:.0f}, 10 % below {low:.0f}, "
                    f"10 % above {high:.0f}, most {kept.max():.0f} angstrom",
                    flush=True,
                )


if __name__ == "__main__":
    main()
