"""Masks in the form that the page draws: contours in a slice, and surfaces."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt32
from scipy import ndimage

from cryosam.arrays import Plane
from cryosam.geometry import AXIS, in_plane_axes
from cryosam.masks import InstanceMask
from cryosam.ui.state import State

__all__ = ["Outline", "Surface", "contours", "outlines", "surface"]

Path = list[list[float]]

_SMOOTH, _LEVEL = 0.7, 0.4  # of a surface: standard deviation of the blur in voxels, and iso-value
_LARGE = 64  # voxels; for larger masks, the surface is computed from every other voxel


class Outline(NamedTuple):
    """The outline of the mask of a candidate or a click in a slice; the other one of the two is None.

    ``inferred`` marks the outline of voxels that were filled in where the tomogram shows nothing.
    """

    kind: int
    candidate: int | None
    click: int | None
    paths: list[Path]
    inferred: bool = False


class Surface(NamedTuple):
    """Triangles around a mask.

    Attributes
    ----------
    vertices
        ``(n, 3)`` z, y, x in voxels.
    faces
        ``(m, 3)`` indices of vertices.
    """

    vertices: Float32[np.ndarray, "n 3"]
    faces: UInt32[np.ndarray, "m 3"]


def contours(mask: InstanceMask, plane: Plane, index: int) -> list[Path]:
    """Return closed paths of ``[row, column]`` around the voxels of a mask in a slice; none if it has none there.

    Examples
    --------
    >>> voxel = InstanceMask((1, 2, 3), np.ones((1, 1, 1), dtype=bool))
    >>> contours(voxel, "z", 1)
    [[[2.5, 3.0], [2.0, 2.5], [1.5, 3.0], [2.0, 3.5], [2.5, 3.0]]]
    >>> contours(voxel, "z", 2)
    []
    """
    axis = AXIS[plane]
    depth = index - mask.origin[axis]
    if not 0 <= depth < mask.data.shape[axis]:
        return []
    from skimage.measure import find_contours  # slow to import

    first = np.array([mask.origin[a] for a in in_plane_axes(plane)]) - 1  # -1 for the padding
    rings = find_contours(np.pad(np.take(mask.data, depth, axis=axis), 1).astype(np.float32), 0.5)
    paths: list[Path] = [(ring + first).tolist() for ring in rings]
    return paths


def outlines(state: State, tomogram: int, plane: Plane, index: int) -> list[Outline]:
    """Return the outlines of all candidates, whatever their score, and of all clicks in a slice."""
    found = [Outline(*owner, contours(mask, plane, index)) for owner, mask in _masks(state, tomogram)]
    for kind in state.kinds:
        for each in state.view(tomogram, kind.id).candidates:
            if each.instance is not None:
                paths = contours(each.instance.inferred, plane, index)
                found.append(Outline(kind.id, each.id, None, paths, inferred=True))
    return [outline for outline in found if outline.paths]


@lru_cache(maxsize=1024)
def surface(mask: InstanceMask) -> Surface:
    """Return triangles around a mask, slightly smoothed; none if the mask is empty.

    Examples
    --------
    >>> ball = InstanceMask((5, 0, 0), np.ones((3, 3, 3), dtype=bool))
    >>> surface(ball).vertices.mean(axis=0).round(3).tolist()
    [6.0, 1.0, 1.0]
    """
    if mask.n_voxels == 0:
        return Surface(np.zeros((0, 3), dtype=np.float32), np.zeros((0, 3), dtype=np.uint32))
    from skimage.measure import marching_cubes

    padded = ndimage.gaussian_filter(np.pad(mask.data, 2).astype(np.float32), _SMOOTH)
    step = 2 if max(mask.data.shape) > _LARGE else 1
    level = min(_LEVEL, 0.5 * float(padded.max()))  # the blur reduces the values of masks with few voxels
    vertices, faces, _, _ = marching_cubes(padded, level, step_size=step)
    placed = vertices + np.array(mask.origin) - 2
    return Surface(placed.astype(np.float32), faces.astype(np.uint32))


def _masks(state: State, tomogram: int) -> Iterator[tuple[tuple[int, int | None, int | None], InstanceMask]]:
    """Yield every mask with the numbers of its kind and of its candidate or click."""
    for kind in state.kinds:
        view = state.view(tomogram, kind.id)
        for candidate in view.candidates:
            yield (kind.id, candidate.id, None), candidate.mask
        for click in view.clicks:
            yield (kind.id, None, click.id), click.mask
