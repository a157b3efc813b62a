"""Masks of sheets: the voxels within half a width of a surface that is given by points with normals."""

import numpy as np
from jaxtyping import Float

from cryosam.arrays import Mask, Points
from cryosam.masks import InstanceMask

__all__ = ["sheet_mask"]

_SLAB = 64
"""Voxels along z that are painted together."""


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
    reach = float(np.hypot(width / 2, spacing))
    low = np.maximum(np.floor(points.min(axis=0) - reach).astype(int), 0)
    high = np.minimum(np.ceil(points.max(axis=0) + reach).astype(int) + 1, shape)
    if (high <= low).any():
        return InstanceMask.empty()
    data = np.zeros(tuple(high - low), dtype=bool)
    for start in range(0, len(data), _SLAB):
        slab = data[start : start + _SLAB]
        from_slab = points - low - [start, 0, 0]
        near = (from_slab[:, 0] > -reach - 1) & (from_slab[:, 0] < len(slab) + reach)
        slab[:] = _within(from_slab[near], normals[near], width, spacing, slab.shape)
    z, y, x = (int(c) for c in low)
    return InstanceMask.crop(data, (z, y, x))


def _within(
    points: Points, normals: Float[np.ndarray, "n 3"], width: float, spacing: float, shape: tuple[int, ...]
) -> Mask:
    """Voxels of a box whose height over the tangent planes of the points nearby is at most half the width."""
    heights, weights = np.zeros(int(np.prod(shape)), dtype=np.float32), np.zeros(int(np.prod(shape)), dtype=np.float32)
    reach = float(np.hypot(width / 2, spacing))
    nearest = np.round(points).astype(int)
    offsets = np.argwhere(np.ones((2 * int(reach) + 1,) * 3)) - int(reach)
    for offset in offsets[(offsets**2).sum(axis=1) <= reach**2]:
        voxels = nearest + offset
        apart = voxels - points
        height = np.einsum("ni,ni->n", apart, normals)
        square = np.einsum("ni,ni->n", apart, apart)
        keep = (square - height**2 <= spacing**2) & (voxels >= 0).all(axis=1) & (voxels < shape).all(axis=1)
        index = np.ravel_multi_index(tuple(voxels[keep].T), shape)
        weight = np.exp(-square[keep] / (2 * (spacing / 2) ** 2))  # the nearest point counts most
        np.add.at(heights, index, (weight * height[keep]).astype(np.float32))
        np.add.at(weights, index, weight.astype(np.float32))
    inside = (weights > 0) & (np.abs(heights) <= weights * np.float32(width / 2 + 1e-3))
    return inside.reshape(shape)
