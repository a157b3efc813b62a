"""How what is at a point continues: as a sheet in two directions, or not; and how strong a spot it is."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from cryosam.arrays import Volume
from cryosam.config import RidgeSettings
from cryosam.geometry import normals_of
from cryosam.intensities import Normalised
from cryosam.structures.binned import BinnedTomogram
from cryosam.structures.ridges import Ridges, supported_ridges, without_phases
from cryosam.structures.sheets import are_tubes, link

__all__ = ["Chance", "SheetAt", "chance_in", "cube_around", "part_around", "sheet_at", "spot_at"]

_HALF_ANGSTROM = 480.0
"""Half the edge of the part of the tomogram around a point that is looked at."""
_VOXEL_ANGSTROM = 20.0
"""Edge of its voxels: a bilayer is then two to three thick, as in the search for membranes."""
_CLICK_ANGSTROM = 60.0
"""Distance by which a click may miss the middle of a sheet (or a voxel and a half, where that is more)."""
_LINK_ANGSTROM, _LINK_DEGREES = 35.0, 30.0
"""As in the search for membranes; at least 1.75 voxels, so that neighbours over a corner are linked."""
_DISC_ANGSTROM = 300.0
"""Radius of the disc within which the area of a sheet is measured."""
_RING_ANGSTROM = (120.0, 260.0)
"""Distances from the point at which a sheet is looked for in each sector; within lies whatever was clicked."""
_N_SECTORS = 12
_LEAST_IN_SECTOR = 2
"""Ridges; a sector of the ring holds about twelve where there is a sheet."""
_POINTS_PER_AREA = 0.7
"""Ridges for each square voxel of a sheet: between 0.6 and 0.9 on membranes of simulated and real tomograms."""
_TUBE_ANGSTROM = 180.0
"""Radius within which a sheet that bends in one direction is a tube's wall, as in the search for membranes."""
_SPOT_ANGSTROM = 30.0
"""Distance from the point within which the brightest spot counts."""
_BANDS_ANGSTROM = ((18.0, 30.0), (30.0, 50.0))
"""Standard deviations of the two Gaussians whose difference shows spots of about 40 and 70 angstrom."""
_FINEST_ANGSTROM, _COARSEST_THIN_ANGSTROM = 15.0, 22.0
"""Largest edge of the voxels in which spots are looked for; and the one above which the narrow band shows single
voxels of noise, so that the wide one stands for both."""
_CHANCE = 0.05
"""Share of the ridges of noise whose support passes; they lie apart from each other, and make no sheet."""
_N_PLACES, _N_PARTS = 14, 6
"""Random places at which chance is measured: spots at all of them, ridges, of which each gives thousands, at some."""

Vector = Float[np.ndarray, " 3"]


@dataclass(frozen=True)
class SheetAt:
    """The sheet at a point.

    Parameters
    ----------
    area
        Of its part within 300 A of the point, in units of a flat disc of that radius; 0 if there is none.
    n_sectors
        In how many of twelve sectors around its normal it continues, 120 to 260 A from the point.
    is_tube
        Whether it is the wall of a narrow tube, such as a microtubule.
    """

    area: float
    n_sectors: int
    is_tube: bool


@dataclass(frozen=True)
class Chance:
    """What chance gives in one tomogram.

    Parameters
    ----------
    plate
        How much like a plate a voxel must be to be looked at.
    support
        Support of ridges that few ridges of noise with the tomogram's spectrum have.
    spots, spreads
        Mean and standard deviation of the strengths of spots, narrow and wide, at random places of the inverted
        tomogram.
    """

    plate: float
    support: float
    spots: tuple[float, ...]
    spreads: tuple[float, ...]


def chance_in(tomogram: BinnedTomogram, seed: int = 0) -> Chance:
    """Measure what chance gives at random places of a tomogram; it serves for all clicks and takes some seconds.

    Parameters
    ----------
    tomogram
        The tomogram.
    seed
        Of the places.
    """
    rng = np.random.default_rng(seed)
    places = rng.uniform(0.1, 0.9, (_N_PLACES, 3)) * (np.array(tomogram.shape) - 1)
    parts = [part_around(tomogram, at, _HALF_ANGSTROM)[0].at(_VOXEL_ANGSTROM) for at in places[:_N_PARTS]]
    settings = RidgeSettings()
    plate = float(np.median([supported_ridges(part, settings)[3] for part in parts]))
    noise = [replace(part, data=without_phases(part.data)) for part in parts]
    null = np.concatenate([supported_ridges(part, settings, plate)[2] for part in noise])
    support = float(np.quantile(null, 1 - _CHANCE)) if len(null) else 0.0
    spots = np.array([_spots(tomogram, at, -1.0) for at in places])
    return Chance(plate, support, tuple(spots.mean(axis=0)), tuple(np.maximum(spots.std(axis=0), 1e-9)))


def part_around(tomogram: BinnedTomogram, point: Vector, half_angstrom: float) -> tuple[BinnedTomogram, Vector]:
    """The cube around a point as a tomogram, as far as it lies in the tomogram, and where the point is in it.

    Parameters
    ----------
    tomogram
        The tomogram.
    point
        z, y, x in voxels.
    half_angstrom
        Half of the cube's edge.
    """
    half, shape = half_angstrom / tomogram.voxel_size_angstrom, np.array(tomogram.shape)
    low = np.clip(np.round(point - half).astype(int), 0, shape - 1)
    high = np.clip(np.round(point + half).astype(int) + 1, low + 1, shape)
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    voxels = tomogram.voxels
    source = replace(voxels.source, data=voxels.source.data[z, y, x])
    return replace(tomogram, voxels=replace(voxels, source=source)), np.asarray(point - low, dtype=float)


def sheet_at(tomogram: BinnedTomogram, point: Vector, chance: Chance) -> SheetAt:
    """The sheet at a point: the connected ridges that noise does not give, from those near the point on.

    Parameters
    ----------
    tomogram
        The tomogram; only the part around the point is read.
    point
        z, y, x in voxels.
    chance
        What noise gives in this tomogram.
    """
    part, inside = part_around(tomogram, point, _HALF_ANGSTROM)
    volume = part.at(_VOXEL_ANGSTROM)
    points, normals, support, _ = supported_ridges(volume, RidgeSettings(), chance.plate)
    keep = support >= chance.support
    points, normals, support = points[keep], normals[keep], support[keep]
    size = volume.voxel_size_angstrom
    ridges = Ridges(points, normals, support, chance.support, chance.support, volume.data.shape)
    distance = np.linalg.norm(points - volume.from_voxels(inside[None]), axis=1) * size
    near = np.flatnonzero(distance <= max(_CLICK_ANGSTROM, 1.5 * size))
    if not len(near):
        return SheetAt(0.0, 0, is_tube=False)
    sheets = link(ridges, size, distance_angstrom=max(_LINK_ANGSTROM, 1.75 * size), angle=_LINK_DEGREES)
    best = SheetAt(0.0, 0, is_tube=False)
    for number in np.unique(sheets[near]):
        mine = near[sheets[near] == number]
        centre = int(mine[np.argmax(support[mine])])
        of_sheet = sheets == number
        found = _continued(points[of_sheet] - points[centre], normals[centre], size)
        if found[0] > best.area:
            tube = are_tubes(points[of_sheet], normals[of_sheet], 5.0, _TUBE_ANGSTROM / size)
            is_tube = bool(tube[int(np.flatnonzero(np.flatnonzero(of_sheet) == centre)[0])])
            best = SheetAt(*found, is_tube=is_tube)
    return best


def _continued(apart: Float[np.ndarray, "n 3"], normal: Vector, size: float) -> tuple[float, int]:
    """Area of a sheet, as of `SheetAt`, and in how many sectors it continues, from its points relative to one."""
    distance = np.linalg.norm(apart, axis=1) * size
    u, v = (each[0] for each in normals_of(normal[None]))
    is_in_ring = (distance >= _RING_ANGSTROM[0]) & (distance <= _RING_ANGSTROM[1])
    turn = np.arctan2(apart[is_in_ring] @ u, apart[is_in_ring] @ v) / (2 * np.pi) + 0.5
    counts = np.bincount((turn * _N_SECTORS).astype(int) % _N_SECTORS, minlength=_N_SECTORS)
    disc = np.pi * (_DISC_ANGSTROM / size) ** 2 * _POINTS_PER_AREA
    return float((distance <= _DISC_ANGSTROM).sum() / disc), int((counts >= _LEAST_IN_SECTOR).sum())


def spot_at(tomogram: BinnedTomogram, point: Vector, chance: Chance) -> float:
    """Strength of the brightest spot near a point, in standard deviations above what chance gives."""
    parts = zip(_spots(tomogram, point, 1.0), chance.spots, chance.spreads, strict=True)
    return float(max((value - mean) / spread for value, mean, spread in parts))


def _spots(tomogram: BinnedTomogram, point: Vector, bright: float) -> list[float]:
    """The brightest narrow and the brightest wide spot near a point; -1 for the darkest ones."""
    reach = 3 * _BANDS_ANGSTROM[1][1] + _SPOT_ANGSTROM
    volume, centre, size = cube_around(tomogram.voxels, tomogram.voxel_size_angstrom, point, reach, _FINEST_ANGSTROM)
    apart = [axis - c for axis, c in zip(np.indices(volume.shape), centre, strict=True)]
    is_near = np.sqrt(sum(each**2 for each in apart)) * size <= _SPOT_ANGSTROM + size / 2
    spots = []
    for low, high in _BANDS_ANGSTROM if size <= _COARSEST_THIN_ANGSTROM else _BANDS_ANGSTROM[1:]:
        narrow, wide = (ndimage.gaussian_filter(bright * volume, each / size, truncate=3) for each in (low, high))
        spots.append(float((narrow - wide)[is_near].max()))
    return spots


def cube_around(
    voxels: Normalised,
    voxel_size_angstrom: float,
    point: Float[np.ndarray, " 3"],
    half_angstrom: float,
    finest_angstrom: float,
) -> tuple[Volume, Float[np.ndarray, " 3"], float]:
    """Read the cube around a point, binned.

    Parameters
    ----------
    voxels, voxel_size_angstrom
        The tomogram.
    point
        z, y, x in voxels.
    half_angstrom
        Half of the cube's edge.
    finest_angstrom
        Whole voxels are averaged up to this edge.

    Returns
    -------
    cube, centre, size
        Its voxels minus their median, and 0 beyond the tomogram; where the point is in it; and its voxel size.
    """
    factor = max(int(finest_angstrom / voxel_size_angstrom + 1e-6), 1)
    n = 2 * int(np.ceil(half_angstrom / voxel_size_angstrom / factor)) + 1
    low = np.round(point).astype(int) - n * factor // 2
    start = np.clip(low, 0, np.array(voxels.shape) - 1)
    end = np.clip(low + n * factor, start + 1, voxels.shape)
    y, x = (slice(int(a), int(b)) for a, b in zip(start[1:], end[1:], strict=True))
    sections = range(int(start[0]), int(end[0]), factor)
    sample = np.concatenate([voxels.crop((slice(k, k + 1), y, x)).ravel() for k in sections])
    low_value, median, high_value = np.percentile(sample, [0.1, 50, 99.9])
    inside = tuple(slice(int(a), int(b)) for a, b in zip(start[1:] - low[1:], end[1:] - low[1:], strict=True))
    cube = np.zeros((n, n, n), dtype=np.float32)
    for row in range(n):  # slab by slab: with small voxels the cube is large
        first = int(low[0]) + row * factor
        a, b = max(first, int(start[0])), min(first + factor, int(end[0]))
        if a < b:
            slab = np.zeros((factor, n * factor, n * factor), dtype=np.float32)
            read = voxels.crop((slice(a, b), y, x))
            slab[(slice(a - first, b - first), *inside)] = np.clip(read, low_value, high_value) - median
            cube[row] = slab.reshape(factor, n, factor, n, factor).mean(axis=(0, 2, 4))
    return cube, np.asarray((point - low - (factor - 1) / 2) / factor, dtype=float), factor * voxel_size_angstrom
