"""Masks of sheets: the voxels within half a width of a surface that is given by points with normals."""

import numpy as np
from jaxtyping import Float
from scipy import ndimage
from scipy.spatial import cKDTree

from cryosam.arrays import Points
from cryosam.masks import InstanceMask

__all__ = ["sheet_mask"]

_NEIGHBOURS = 4
"""Points whose tangent planes are averaged for the height of a voxel."""

_BLOCK = 300_000
"""Voxels that are looked at together."""


def sheet_mask(
    points: Points,
    normals: Float[np.ndarray, "n 3"],
    *,
    width: float,
    spacing: float,
    shape: tuple[int, int, int],
) -> InstanceMask:
    """Voxels near a sheet.

    Parameters
    ----------
    points, normals
        ``(n, 3)`` on the middle of the sheet, z, y, x in voxels of the volume, and unit normals, to the same side.
    width
        Of the sheet, voxels.
    spacing
        Distance of neighbouring points, voxels; a voxel beside the sheet's rim is left out.
    shape
        Of the volume.

    Examples
    --------
    >>> points = np.array([[4.0, y, x] for y in range(7) for x in range(8)])
    >>> mask = sheet_mask(points, np.tile([1.0, 0.0, 0.0], (56, 1)), width=3.0, spacing=1.0, shape=(9, 7, 8))
    >>> mask.origin, mask.data.shape, mask.n_voxels
    ((3, 0, 0), (3, 7, 8), 168)
    """
    if not len(points):
        return InstanceMask.empty()
    margin = width / 2 + spacing
    low = np.maximum(np.floor(points.min(axis=0) - margin).astype(int), 0)
    high = np.minimum(np.ceil(points.max(axis=0) + margin).astype(int) + 1, shape)
    if (high <= low).any():
        return InstanceMask.empty()
    data = np.zeros(tuple(high - low), dtype=bool)
    tree = cKDTree(points)
    candidates = _near(points - low, data.shape, margin)
    for start in range(0, len(candidates), _BLOCK):
        part = candidates[start : start + _BLOCK]
        place = (part + low).astype(float)
        distance, index = tree.query(place, k=min(_NEIGHBOURS, len(points)))
        distance, index = np.reshape(distance, (len(part), -1)), np.reshape(index, (len(part), -1))
        first = normals[index[:, :1]]
        same_side = np.sign(np.einsum("nki,nji->nk", normals[index], first))
        heights = same_side * np.einsum("nki,nki->nk", place[:, None] - points[index], normals[index])
        weights = np.exp(-((distance / spacing) ** 2 - (distance[:, :1] / spacing) ** 2) / 2)
        height = np.abs((weights * heights).sum(axis=1) / weights.sum(axis=1))
        beside = np.sqrt(np.maximum(distance[:, 0] ** 2 - heights[:, 0] ** 2, 0))
        inside = (height <= width / 2) & (beside <= spacing)
        data[tuple(part[inside].astype(int).T)] = True
    z, y, x = (int(c) for c in low)
    return InstanceMask.crop(data, (z, y, x))


def _near(points: Points, shape: tuple[int, ...], distance: float) -> Float[np.ndarray, "m 3"]:
    """Voxels that may be within a distance of a point: those of coarse cells near to one."""
    edge = max(int(distance / 2), 1)
    cells = np.zeros([-(-n // edge) for n in shape], dtype=bool)
    at = np.clip(np.floor(points / edge).astype(int), 0, np.array(cells.shape) - 1)
    cells[tuple(at.T)] = True
    cells = ndimage.binary_dilation(cells, np.ones((3, 3, 3), dtype=bool), iterations=int(np.ceil(distance / edge)))
    voxels = cells.repeat(edge, 0).repeat(edge, 1).repeat(edge, 2)[tuple(slice(0, n) for n in shape)]
    return np.argwhere(voxels).astype(float)
