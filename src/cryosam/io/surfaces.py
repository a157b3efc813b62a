"""Membranes, filaments and compartments as surfaces, for 3D views, and surfaces with fewer triangles."""

from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from cryosam.arrays import Points
from cryosam.io.filament_files import transport_frames
from cryosam.masks import InstanceMask
from cryosam.structure_results import Filament, Membrane, Mesh, StructureInstance

__all__ = ["are_inferred", "simplify", "surface_of", "thinned_tube", "tube"]

_SIDES = 8  # of the cross-section of a tube
_EDGE = 96  # cells of the grid, along the longest axis, on which the surface of a compartment is computed


_made: WeakKeyDictionary[StructureInstance, Mesh] = WeakKeyDictionary()


def surface_of(instance: StructureInstance) -> Mesh:
    """Return the middle surface of a membrane, a tube along a filament, or the surface around a compartment.

    Returns
    -------
    mesh
        In voxels of the tomogram.
    """
    made = _made.get(instance)
    if made is None:
        made = _made[instance] = _surface_of(instance)
    return made


def _surface_of(instance: StructureInstance) -> Mesh:
    match instance:
        case Membrane():
            return instance.mesh
        case Filament():
            return tube(instance.points, instance.tangents, _radius(instance))
        case _:
            return _around(instance.mask)


def tube(points: Points, tangents: Points, radius: float) -> Mesh:
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
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=int))
    frames = transport_frames(tangents)
    side, other = frames.apply([0.0, 0.0, 1.0]), frames.apply([0.0, 1.0, 0.0])
    angles = np.linspace(0, 2 * np.pi, _SIDES, endpoint=False)
    ring = np.cos(angles)[None, :, None] * side[:, None] + np.sin(angles)[None, :, None] * other[:, None]
    vertices = (points[:, None] + radius * ring).reshape(-1, 3)
    return Mesh(vertices, _between_rings(len(points)))


def thinned_tube(filament: Filament, spacing: float) -> tuple[Mesh, Bool[np.ndarray, " n"]]:
    """Return the tube along a filament with points at least a spacing in voxels apart, and which are inferred."""
    rings = surface_of(filament).vertices.reshape(-1, _SIDES, 3)
    inferred = are_inferred(filament).reshape(-1, _SIDES)
    if not len(rings):
        return surface_of(filament), are_inferred(filament)
    track = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(filament.points, axis=0), axis=1))])
    kept = np.searchsorted(track, np.arange(0, track[-1], spacing))
    kept = np.unique(np.append(kept, len(track) - 1))
    return Mesh(rings[kept].reshape(-1, 3), _between_rings(len(kept))), inferred[kept].ravel()


def _between_rings(n: int) -> Int[np.ndarray, "m 3"]:
    """Triangles between each ring of vertices and the next."""
    start = _SIDES * np.arange(max(n - 1, 0))[:, None]
    here, there = np.arange(_SIDES), (np.arange(_SIDES) + 1) % _SIDES
    a, b = start + here, start + there
    faces = np.stack([np.stack([a, b, a + _SIDES], axis=-1), np.stack([b, b + _SIDES, a + _SIDES], axis=-1)])
    return faces.reshape(-1, 3)


def are_inferred(instance: StructureInstance) -> Bool[np.ndarray, " n"]:
    """Return which vertices of an instance's surface lie where it was filled in without evidence."""
    vertices = surface_of(instance).vertices
    if isinstance(instance, Filament):  # the tube's surface is at the edge of its mask
        vertices = np.repeat(instance.points, _SIDES, axis=0)
    return instance.inferred.contains(vertices)


def simplify(mesh: Mesh, cell: float, marks: Bool[np.ndarray, " n"]) -> tuple[Mesh, Bool[np.ndarray, " k"]]:
    """Merge vertices that lie in one cell of a grid into their mean; triangles that shrink to lines are left out.

    Parameters
    ----------
    mesh
        Any.
    cell
        Edge of the cells of the grid, in the unit of the vertices.
    marks
        Of each vertex; a merged one has the mark that most of its vertices have.

    Examples
    --------
    >>> corners = np.array([[0.0, 0, 0], [0, 0, 1], [0, 4, 0], [4, 4, 4]])
    >>> mesh, _ = simplify(Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]])), 2.0, np.zeros(4, dtype=bool))
    >>> mesh.vertices.tolist(), mesh.faces.tolist()
    ([[0.0, 0.0, 0.5], [0.0, 4.0, 0.0], [4.0, 4.0, 4.0]], [[0, 1, 2]])
    """
    _, number = np.unique(np.floor(mesh.vertices / cell).astype(int), axis=0, return_inverse=True)
    number = number.reshape(-1)
    n_merged = np.bincount(number)
    vertices = np.stack([np.bincount(number, axis) / n_merged for axis in mesh.vertices.T], axis=1)
    faces = number[mesh.faces].reshape(-1, 3)
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]
    _, first = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    return Mesh(vertices.reshape(-1, 3), faces[np.sort(first)]), np.bincount(number, marks) * 2 > n_merged


def _radius(filament: Filament) -> float:
    """The radius in voxels; the length of the line in voxels and in angstrom give the voxel size."""
    steps: Float[np.ndarray, " n"] = np.linalg.norm(np.diff(filament.points, axis=0), axis=1)
    length = float(steps.sum())
    if not length or not filament.length_angstrom > 0:
        return 1.0
    return filament.radius_angstrom * length / filament.length_angstrom


def _around(mask: InstanceMask) -> Mesh:
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
    return Mesh(np.asarray(placed, dtype=float), np.asarray(faces, dtype=int))
