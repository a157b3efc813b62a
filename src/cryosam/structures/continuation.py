"""How what is at a point continues: as a sheet in two directions, as a line or a tube in one, or not at all."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from cryosam.arrays import Points, Volume
from cryosam.geometry import half_sphere, normals_of
from cryosam.intensities import Normalised

__all__ = ["Continuation", "continuation_at", "cube_around"]

_FINEST_ANGSTROM = 15.0
"""Largest edge of the voxels that are looked at: an actin filament is about 60 A wide."""
_HALF_ANGSTROM = 380.0
"""Half the edge of the cube around a point that is looked at; lines of 600 A fit in it in any direction."""
_BANDS_ANGSTROM = ((18.0, 30.0), (30.0, 50.0))
"""Standard deviations of the two Gaussians whose difference shows single filaments and leaflets, and membranes and the
walls of tubes."""
_COARSEST_THIN_ANGSTROM = 22.0
"""Voxel size above which the narrow band would show single voxels of noise; the wide one then stands for both."""
_SHEET_RADII = np.array([120.0, 160.0, 200.0, 240.0])
"""Distances from the point, angstrom, at which a sheet is looked for; within 120 A lies whatever was clicked."""
_SHEET_CURVATURES = np.array([0, 1 / 1000, -1 / 1000, 1 / 500, -1 / 500, 1 / 300, -1 / 300, 1 / 200, -1 / 200])
"""One over the radius of a sheet, per angstrom; the wall of a microtubule (1 / 105) is no sheet."""
_N_SECTORS = 12
_SECTORS_MISSING = 4
"""Sectors of a sheet that may be missing: those towards the beam are faint in a vesicle's wall."""
_OFF_ANGSTROM = 45.0
"""Distance by which a click may miss the middle of what it means (or two voxels, where these are more)."""
_SEGMENTS = np.arange(-275.0, 276.0, 50.0)
"""Middles of the twelve pieces of a line, angstrom. The inner four, on what was clicked, are left out."""
_TUBE_RADII = (60.0, 80.0, 100.0, 120.0)
"""Radii of the walls of tubes, angstrom; a microtubule has 105."""
_TUBE_STEP = 15.0
_TUBE_HALF = 13
"""Steps from the point to the edge of the lattice on which a tube's cross-section is seen."""


@dataclass(frozen=True)
class Continuation:
    """How strongly what is at a point continues; in the tomogram's intensities unless made relative to chance.

    Parameters
    ----------
    thin_sheet, sheet
        Weakest but four of twelve sectors of the best sheet through the point, 120 to 240 A from it; about 40 A and
        70 A thick.
    thin_line, line, tube
        Mean of the weaker half of the pieces of the best line, about 40 A and 70 A thick, and of the best tube around
        or beside the point, 100 to 300 A from it on both sides.
    tube_end
        The same as ``tube`` for a tube that ends at the point: the weakest piece on one side.
    thin_blob, blob
        Brightest spot within 30 A of the point, about 40 A and 70 A wide.
    """

    thin_sheet: float
    sheet: float
    thin_line: float
    line: float
    tube: float
    tube_end: float
    thin_blob: float
    blob: float


def continuation_at(
    voxels: Normalised, voxel_size_angstrom: float, point: Float[np.ndarray, " 3"], bright: float = 1.0
) -> Continuation:
    """Measure how what is at a point continues.

    Parameters
    ----------
    voxels
        The normalised tomogram, protein bright; only the cube around the point is read.
    voxel_size_angstrom
        Edge of its voxels.
    point
        z, y, x in voxels.
    bright
        1 for what is bright, -1 to measure what is dark instead: the same amount of noise, no protein.
    """
    volume, centre, size = cube_around(voxels, voxel_size_angstrom, point, _HALF_ANGSTROM, _FINEST_ANGSTROM)
    bands = [
        _Seen(
            ndimage.gaussian_filter(volume * bright, low / size, truncate=3)
            - ndimage.gaussian_filter(volume * bright, high / size, truncate=3),
            centre,
            size,
        )
        for low, high in _BANDS_ANGSTROM
    ]
    thin, thick = bands if size <= _COARSEST_THIN_ANGSTROM else (bands[1], bands[1])
    off = max(_OFF_ANGSTROM, 2 * voxel_size_angstrom)
    ball = _ball(30.0, 15.0)
    tube, tube_end = _tube(thick)
    return Continuation(
        thin_sheet=_sheet(thin, off),
        sheet=_sheet(thick, off),
        thin_line=_line(thin, off),
        line=_line(thick, off),
        tube=tube,
        tube_end=tube_end,
        thin_blob=float(thin.at(ball).max()),
        blob=float(thick.at(ball).max()),
    )


@dataclass(frozen=True, eq=False)
class _Seen:
    """A band of the cube around a point."""

    volume: Volume
    centre: Float[np.ndarray, " 3"]
    voxel_size: float

    def at(self, offsets: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
        """Values at offsets from the point in angstrom; 0 outside the cube."""
        where = (self.centre + offsets.reshape(-1, 3) / self.voxel_size).T
        values = ndimage.map_coordinates(self.volume, where, order=1, mode="constant")
        return np.asarray(values.reshape(offsets.shape[:-1]), dtype=np.float32)


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


def _sheet(seen: _Seen, off: float) -> float:
    """Strength of the best sheet: over normals, distances from the point and curvatures."""
    normals = half_sphere(300)
    u, w = normals_of(normals)
    angle = np.arange(_N_SECTORS) * 2 * np.pi / _N_SECTORS
    across = u[:, None] * np.cos(angle)[None, :, None] + w[:, None] * np.sin(angle)[None, :, None]
    best = -np.inf
    for curvature in _SHEET_CURVATURES:
        if curvature == 0:
            lateral, height = _SHEET_RADII, np.zeros_like(_SHEET_RADII)
        else:
            lateral = np.sin(_SHEET_RADII * abs(curvature)) / abs(curvature)
            height = (1 - np.cos(_SHEET_RADII * abs(curvature))) / curvature
        for shift in np.linspace(-off, off, 7):
            where = across[:, :, None] * lateral[:, None] + normals[:, None, None] * (height + shift)[:, None]
            sectors = np.sort(seen.at(where).mean(axis=2), axis=1)
            best = max(best, float(sectors[:, _SECTORS_MISSING].max()))
    return best


def _line(seen: _Seen, off: float) -> float:
    """Strength of the best straight line that passes the point closely; the best few directions are looked at again."""
    directions = half_sphere(320)
    u, w = normals_of(directions)
    lattice = _disc(off * 2 / 3, off / 3)
    offsets = u[:, None] * lattice[None, :, :1] + w[:, None] * lattice[None, :, 1:]
    weak = _weaker_half(_pieces(seen, directions, offsets))
    i, j = np.unravel_index(np.argsort(weak, axis=None)[::-1][:30], weak.shape)
    tilt = np.tan(np.radians([-6.0, -3.0, 0.0, 3.0, 6.0]))
    a, b = (each.ravel() for each in np.meshgrid(tilt, tilt))
    tilted = directions[i, None] + u[i, None] * a[None, :, None] + w[i, None] * b[None, :, None]
    tilted = (tilted / np.linalg.norm(tilted, axis=2, keepdims=True)).reshape(-1, 3)
    u, w = normals_of(tilted)
    lattice = _disc(12.0, 8.0)
    offsets = np.repeat(offsets[i, j], len(a), axis=0)[:, None] + (
        u[:, None] * lattice[None, :, :1] + w[:, None] * lattice[None, :, 1:]
    )
    return float(_weaker_half(_pieces(seen, tilted, offsets)).max())


def _pieces(
    seen: _Seen, directions: Float[np.ndarray, "n 3"], offsets: Float[np.ndarray, "n m 3"]
) -> Float[np.ndarray, "n m 12"]:
    """Mean along each piece of the lines with these directions and offsets."""
    along = _SEGMENTS[:, None] + np.array([-12.5, 12.5])
    where = offsets[:, :, None, None] + directions[:, None, None, None] * along[None, None, :, :, None]
    return np.asarray(seen.at(where).mean(axis=3))


def _weaker_half(pieces: Float[np.ndarray, "*n 12"]) -> Float[np.ndarray, "*n"]:
    """Mean of the four weaker ones of the eight outer pieces: a row of particles has gaps, a filament has none."""
    outer = np.sort(np.concatenate([pieces[..., :4], pieces[..., 8:]], axis=-1), axis=-1)
    return np.asarray(outer[..., :4].mean(axis=-1))


def _tube(seen: _Seen) -> tuple[float, float]:
    """Strength of the best tube whose axis passes within 105 A, on both sides of the point, and on one side."""
    directions = half_sphere(160)
    u, w = normals_of(directions)
    lattice = (np.indices((2 * _TUBE_HALF + 1,) * 2).reshape(2, -1).T - _TUBE_HALF) * _TUBE_STEP
    offsets = u[:, None] * lattice[None, :, :1] + w[:, None] * lattice[None, :, 1:]
    seen_along = seen.at(offsets[:, :, None] + directions[:, None, None] * _SEGMENTS[None, None, :, None])
    walls = np.einsum("kp,dps->dks", _rings(), seen_along, optimize=True)
    one_side = np.maximum(walls[..., :4].min(axis=-1), walls[..., 8:].min(axis=-1))
    return float(_weaker_half(walls).max()), float(one_side.max())


@cache
def _rings() -> Float[np.ndarray, "k p"]:
    """Weights, over the lattice of a cross-section, of walls with every centre and radius."""
    angle = np.arange(24) * np.pi / 12
    around = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rings = []
    for radius in _TUBE_RADII:
        for centre in _disc(105.0, _TUBE_STEP):
            at = np.round((centre + radius * around) / _TUBE_STEP).astype(int) + _TUBE_HALF
            if at.min() >= 0 and at.max() <= 2 * _TUBE_HALF:
                ring = np.zeros((2 * _TUBE_HALF + 1,) * 2, dtype=np.float32)
                np.add.at(ring, tuple(at.T), 1 / len(angle))
                rings.append(ring.ravel())
    return np.array(rings)


def _disc(radius: float, step: float) -> Float[np.ndarray, "n 2"]:
    """Square lattice within a disc."""
    along = np.arange(-int(radius / step), int(radius / step) + 1) * step
    a, b = (each.ravel() for each in np.meshgrid(along, along, indexing="ij"))
    return np.stack([a, b], axis=1)[a**2 + b**2 <= radius**2 + 1e-6]


def _ball(radius: float, step: float) -> Points:
    """Cubic lattice within a ball."""
    along = np.arange(-int(radius / step), int(radius / step) + 1) * step
    grid = np.stack([each.ravel() for each in np.meshgrid(along, along, along, indexing="ij")], axis=1)
    return grid[(grid**2).sum(axis=1) <= radius**2 + 1e-6]
