"""Geometry of membranes and filaments in a specimen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from cryosam.arrays import Mask, Volume

__all__ = [
    "BUNDLE",
    "MICROTUBULE_RADIUS",
    "MONOMER",
    "Line",
    "Sheet",
    "actin_domains",
    "beside",
    "longest_inside",
    "microtubule_monomers",
    "part_inside",
    "random_path",
]

MICROTUBULE_RADIUS = 105.0
"""Radius to the middle of a microtubule's wall, in angstrom."""
MONOMER = 41.0
"""Length of a tubulin monomer along a protofilament, in angstrom (Nogales et al., Cell 96, 79-88, 1999)."""
BUNDLE = 120.0 * np.array([[0.0, 0.0], *([np.sin(a), np.cos(a)] for a in np.arange(6) * np.pi / 3)])
"""``(7, 2)`` offsets of the filaments of a bundle, in angstrom; the first is in the middle."""

_PROTOFILAMENTS, _STARTS = 13, 3  # of the common microtubule: monomers run up in three parallel helices
_ACTIN_TURN = -166.6  # degrees from one actin to the next

Path = Float[np.ndarray, "_ 3"]
"""Points along a line, z, y, x in voxels."""


@dataclass(frozen=True, eq=False)
class Line:
    """A filament's centre line within the volume.

    Parameters
    ----------
    name
        "actin" or "microtubule".
    instance
        Number of the filament among all structures.
    points
        ``(n, 3)`` in order, z, y, x in voxels.
    """

    name: str
    instance: int
    points: Path


@dataclass(frozen=True, eq=False)
class Sheet:
    """A plane that is bent like a wave.

    Parameters
    ----------
    point
        ``(3,)`` on the plane, z, y, x in voxels.
    normal, direction
        ``(3,)`` unit vectors: normal to the plane, and in the plane, along the wave.
    amplitude, wavelength, phase
        Of the wave; lengths in voxels, phase in radians.
    """

    point: Float[np.ndarray, " 3"]
    normal: Float[np.ndarray, " 3"]
    direction: Float[np.ndarray, " 3"]
    amplitude: float
    wavelength: float
    phase: float

    @classmethod
    def random(cls, shape: tuple[int, int, int], voxel_size_angstrom: float, rng: np.random.Generator) -> "Sheet":
        """A sheet through the middle part of a volume, inclined by 0 to 60 degrees to the beam (z)."""
        azimuth, inclination = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(-60, 60))
        flat = np.array([0.0, np.sin(azimuth), np.cos(azimuth)])
        normal = np.cos(inclination) * flat + np.array([np.sin(inclination), 0, 0])
        along = np.cross(normal, rng.normal(size=3))
        return cls(
            point=rng.uniform(0.25, 0.75, size=3) * (np.array(shape) - 1),
            normal=normal,
            direction=along / np.linalg.norm(along),
            amplitude=float(rng.uniform(0, 200)) / voxel_size_angstrom,
            wavelength=float(rng.uniform(3000, 5000)) / voxel_size_angstrom,
            phase=float(rng.uniform(0, 2 * np.pi)),
        )

    def height(self, grid: Sequence[Float[np.ndarray, "..."]]) -> Volume:
        """Distance above the sheet in voxels, to first order, at the places of an open grid.

        Examples
        --------
        >>> normal, direction = np.array([1.0, 0, 0]), np.array([0.0, 0, 1])
        >>> Sheet(np.array([2.0, 0, 0]), normal, direction, 0.0, 10.0, 0.0).height(np.ogrid[:4.0, :1.0, :1.0]).ravel()
        array([-2., -1.,  0.,  1.])
        """
        over, along = (
            sum((g - c) * a for g, c, a in zip(grid, self.point, axis, strict=True))
            for axis in (self.normal, self.direction)
        )
        wave = 2 * np.pi / self.wavelength
        slope = self.amplitude * wave * np.cos(wave * along + self.phase)
        height: Volume = (over + self.amplitude * np.sin(wave * along + self.phase)) / np.sqrt(1 + slope**2)
        return height


def random_path(shape: tuple[int, int, int], rise: float, rng: np.random.Generator, bend: float = 0.015) -> Path:
    """A line through a whole volume, near its planes of constant z.

    Parameters
    ----------
    shape
        Voxels along z, y, x.
    rise
        Distance of two points, in voxels.
    rng
        Source of random numbers.
    bend
        Standard deviation of the angle between two steps, in radians.
    """
    length = int(2 * np.linalg.norm(shape) / rise)
    angle, tilt = rng.uniform(0, np.pi), rng.normal(scale=0.15)
    angles = np.cumsum(rng.normal(scale=bend, size=length)) + angle
    steps = rise * np.column_stack([np.full(length, tilt), np.sin(angles), np.cos(angles)])
    path: Path = np.cumsum(steps, axis=0)
    path += rng.uniform(0.2, 0.8, size=3) * np.array(shape) - path[length // 2]
    return path


def _sides(path: Path) -> tuple[Path, Path]:
    """Unit vectors normal to a path near planes of constant z: in that plane, and near z."""
    steps = np.gradient(path, axis=0)
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    side = np.column_stack([np.zeros(len(path)), steps[:, 2], -steps[:, 1]])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    return side, np.cross(steps, side)


def beside(path: Path, offset: Float[np.ndarray, " 2"]) -> Path:
    """The path moved sideways, by voxels in its plane and normal to that.

    Examples
    --------
    >>> beside(np.array([[0.0, 0, 0], [0, 0, 1], [0, 0, 2]]), np.array([5.0, 0.0])).tolist()[0]
    [0.0, 5.0, 0.0]
    """
    side, up = _sides(path)
    moved: Path = path + offset[0] * side + offset[1] * up
    return moved


def actin_domains(path: Path, radius: float) -> Path:
    """Centres of the actins along a path with one point per actin; ``radius`` from the path, in voxels."""
    steps = np.diff(path, axis=0, prepend=2 * path[:1] - path[1:2])
    side = np.column_stack([np.zeros(len(path)), steps[:, 2], -steps[:, 1]])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    turn = np.radians(_ACTIN_TURN) * np.arange(len(path))[:, None]
    centres: Path = path + radius * (np.cos(turn) * side + np.sin(turn) * np.array([1.0, 0, 0]))
    return centres


def microtubule_monomers(path: Path, voxel_size_angstrom: float) -> Path:
    """Centres of the tubulin monomers around a path with a point every `MONOMER`."""
    side, up = _sides(path)
    along = np.gradient(path, axis=0)
    rings = []
    for k in range(_PROTOFILAMENTS):
        angle = 2 * np.pi * k / _PROTOFILAMENTS
        outwards = MICROTUBULE_RADIUS / voxel_size_angstrom * (np.cos(angle) * side + np.sin(angle) * up)
        rings.append(path + outwards + k * _STARTS / _PROTOFILAMENTS * along)
    return np.concatenate(rings)


def longest_inside(path: Path, is_free: Mask) -> Path:
    """The longest part of a path that lies within a mask.

    Examples
    --------
    >>> is_free = np.ones((1, 1, 9), dtype=bool)
    >>> is_free[0, 0, 3] = False
    >>> longest_inside(np.column_stack([np.zeros(12), np.zeros(12), np.arange(12.0)]), is_free)[:, 2]
    array([4., 5., 6., 7., 8.])
    """
    steps = np.diff(_is_at(path, is_free).astype(int), prepend=0, append=0)
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    if not len(starts):
        return path[:0]
    longest = int(np.argmax(ends - starts))
    part: Path = path[starts[longest] : ends[longest]]
    return part


def part_inside(path: Path, drawn: Mask, reach: float) -> Path:
    """The part of a path from its first to its last point within ``reach`` voxels of what was drawn.

    Examples
    --------
    >>> drawn = np.zeros((3, 3, 20), dtype=bool)
    >>> drawn[1, 1, :8] = drawn[1, 1, 14:18] = True
    >>> path = np.column_stack([np.ones(30), np.ones(30), np.arange(30.0) - 5])
    >>> part_inside(path, drawn, 0.5)[[0, -1], 2]
    array([ 0., 17.])
    """
    inside = np.flatnonzero(_is_at(path, ndimage.distance_transform_edt(~drawn) <= reach))
    part: Path = path[inside[0] : inside[-1] + 1] if len(inside) else path[:0]
    return part


def _is_at(path: Path, mask: Mask) -> Bool[np.ndarray, " _"]:
    """The mask at each point; False outside the volume."""
    index = np.rint(path).astype(int)
    is_in = ((index >= 0) & (index < np.array(mask.shape))).all(axis=1)
    is_in[is_in] = mask[tuple(index[is_in].T)]
    return is_in
