"""Membranes, filaments and compartments as surfaces, for the 3D view."""

from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from cryosam.arrays import Points
from cryosam.io.filament_files import transport_frames
from cryosam.masks import InstanceMask
from cryosam.structure_results import Filament, Membrane, StructureInstance
from cryosam.ui.shapes import Surface

__all__ = ["surface_of", "tube"]

_SIDES = 8  # of the cross-section of a tube
_EDGE = 96  # cells of the grid, along the longest axis, on which the surface of a compartment is computed


_made: WeakKeyDictionary[StructureInstance, Surface] = WeakKeyDictionary()


def surface_of(instance: StructureInstance) -> Surface:
    """Return the middle surface of a membrane, a tube along a filament, or the surface around a compartment."""
    made = _made.get(instance)
    if made is None:
        made = _made[instance] = _surface_of(instance)
    return made


def _surface_of(instance: StructureInstance) -> Surface:
    match instance:
        case Membrane():
            return Surface(instance.mesh.vertices.astype(np.float32), instance.mesh.faces.astype(np.uint32))
        case Filament():
            return tube(instance.points, instance.tangents, _radius(instance))
        case _:
            return _around(instance.mask)


def tube(points: Points, tangents: Points, radius: float) -> Surface:
    """Return triangles around a line, open at both ends.

    Parameters
    ----------
    points, tangents
        ``(n, 3)`` along the line, z, y, x in voxels, and unit tangents there.
    radius
        In voxels.

    Examples
    --------
    >>> made = tube(np.array([[0.0, 0, 0], [0, 0, 5]]), np.array([[0.0, 0, 1], [0, 0, 1]]), 2.0)
    >>> len(made.vertices), len(made.faces), float(np.linalg.norm(made.vertices[:, :2], axis=1).round(3).min())
    (16, 16, 2.0)
    """
    if len(points) < 2:
        return Surface(np.zeros((0, 3), dtype=np.float32), np.zeros((0, 3), dtype=np.uint32))
    frames = transport_frames(tangents)
    side, other = frames.apply([0.0, 0.0, 1.0]), frames.apply([0.0, 1.0, 0.0])
    angles = np.linspace(0, 2 * np.pi, _SIDES, endpoint=False)
    ring = np.cos(angles)[None, :, None] * side[:, None] + np.sin(angles)[None, :, None] * other[:, None]
    vertices = (points[:, None] + radius * ring).reshape(-1, 3)
    start = _SIDES * np.arange(len(points) - 1)[:, None]
    here, there = np.arange(_SIDES), (np.arange(_SIDES) + 1) % _SIDES
    a, b = start + here, start + there
    faces = np.stack([np.stack([a, b, a + _SIDES], axis=-1), np.stack([b, b + _SIDES, a + _SIDES], axis=-1)])
    return Surface(vertices.astype(np.float32), faces.reshape(-1, 3).astype(np.uint32))


def _radius(filament: Filament) -> float:
    """The radius in voxels; the length of the line in voxels and in angstrom give the voxel size."""
    steps: Float[np.ndarray, " n"] = np.linalg.norm(np.diff(filament.points, axis=0), axis=1)
    length = float(steps.sum())
    if not length or not filament.length_angstrom > 0:
        return 1.0
    return filament.radius_angstrom * length / filament.length_angstrom


def _around(mask: InstanceMask) -> Surface:
    """Triangles around a mask, from the share of its voxels in the cells of a coarse grid."""
    from skimage.measure import marching_cubes

    factor = max(1, -(-max(mask.data.shape) // _EDGE))
    grid = [-(-n // factor) for n in mask.data.shape]
    padded = np.zeros([n * factor for n in grid], dtype=bool)
    padded[tuple(slice(n) for n in mask.data.shape)] = mask.data
    cells = padded.reshape(grid[0], factor, grid[1], factor, grid[2], factor).mean(axis=(1, 3, 5), dtype=np.float32)
    smooth = ndimage.gaussian_filter(np.pad(cells, 2), 0.7)
    vertices, faces, _, _ = marching_cubes(smooth, min(0.4, 0.5 * float(smooth.max())))
    placed = (vertices - 2) * factor + (factor - 1) / 2 + np.array(mask.origin)
    return Surface(placed.astype(np.float32), faces.astype(np.uint32))
