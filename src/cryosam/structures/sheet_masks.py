"""Masks of sheets: the voxels within half a width of a surface that is given by points with normals."""

import numpy as np
from jaxtyping import Float

from cryosam.arrays import Mask, Points
from cryosam.masks import InstanceMask

__all__ = ["sheet_mask", "without"]

_SLAB = 64
"""Voxels along z that are painted together."""


def sheet_mask(
    points: Points,
    normals: Float[np.ndarray, "n 3"],
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
    >>> mask = sheet_mask(points, np.tile([1.0, 0.0, 0.0], (56, 1)), 3.0, 1.0, (9, 7, 8))
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
        near = ((from_slab > -reach - 1) & (from_slab < np.array(slab.shape) + reach)).all(axis=1)
        slab[:] = _within(from_slab[near], normals[near], width, spacing, slab.shape)
    z, y, x = (int(c) for c in low)
    return InstanceMask.crop(data, (z, y, x))


def _within(
    points: Points, normals: Float[np.ndarray, "n 3"], width: float, spacing: float, shape: tuple[int, ...]
) -> Mask:
    """Voxels of a box whose height over the tangent planes of the points nearby is at most half the width."""
    reach = float(np.hypot(width / 2, spacing))
    margin = int(2 * reach) + 3  # of points outside the box, and of what they reach: no index needs to be checked
    padded = np.array(shape) + 2 * margin
    heights, weights = np.zeros(int(padded.prod()), dtype=np.float32), np.zeros(int(padded.prod()), dtype=np.float32)
    nearest = np.round(points).astype(int)
    step = np.array([padded[1] * padded[2], padded[2], 1])
    index, rest = (nearest + margin) @ step, points - nearest
    z, y, x = normals.T
    offsets = np.argwhere(np.ones((2 * int(reach) + 1,) * 3)) - int(reach)
    for offset in offsets[(offsets**2).sum(axis=1) <= reach**2]:
        down, along, right = (float(o) - rest[:, axis] for axis, o in enumerate(offset))
        height = down * z + along * y + right * x
        square = down * down + along * along + right * right
        keep = square - height * height <= spacing**2
        voxel = index[keep] + int(offset @ step)
        weight = np.exp(square[keep] / (-2 * (spacing / 2) ** 2))  # the nearest point counts most
        np.add.at(heights, voxel, (weight * height[keep]).astype(np.float32))
        np.add.at(weights, voxel, weight.astype(np.float32))
    inside = (weights > 0) & (np.abs(heights) <= weights * np.float32(width / 2 + 1e-3))
    return inside.reshape(padded)[tuple(slice(margin, margin + n) for n in shape)]


def without(mask: InstanceMask, other: InstanceMask) -> InstanceMask:
    """The voxels of a mask that are not in the other one.

    Examples
    --------
    >>> row = InstanceMask((0, 0, 0), np.ones((1, 1, 4), dtype=bool))
    >>> without(row, InstanceMask((0, 0, 1), np.ones((1, 1, 1), dtype=bool))).data.tolist()
    [[[True, False, True, True]]]
    """
    low = np.maximum(mask.origin, other.origin)
    high = np.minimum(np.add(mask.origin, mask.data.shape), np.add(other.origin, other.data.shape))
    if (high <= low).any():
        return mask
    data = mask.data.copy()
    mine = tuple(slice(*each) for each in zip(low - mask.origin, high - mask.origin, strict=True))
    theirs = tuple(slice(*each) for each in zip(low - other.origin, high - other.origin, strict=True))
    data[mine] &= ~other.data[theirs]
    return InstanceMask.crop(data, mask.origin)
