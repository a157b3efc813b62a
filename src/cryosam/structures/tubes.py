"""Tubes around lines, as masks."""

import numpy as np
from jaxtyping import Int

from cryosam.masks import InstanceMask
from cryosam.structures.tracing import Curve

__all__ = ["paint_tube"]


def paint_tube(curve: Curve, radius: float, shape: tuple[int, int, int]) -> tuple[InstanceMask, InstanceMask]:
    """Paint the voxels within a radius of a line, with flat ends.

    Parameters
    ----------
    curve
        Points in voxels.
    radius
        In voxels.
    shape
        Of the tomogram.

    Returns
    -------
    measured, inferred
        Voxels around what was measured, and the other voxels, around what was inferred.

    Examples
    --------
    >>> line = Curve(np.array([[2.0, 2.0, x] for x in range(1, 8)]), np.zeros(7, dtype=bool))
    >>> mask, _ = paint_tube(line, 1.0, (5, 5, 9))
    >>> mask.origin, mask.n_voxels
    ((1, 1, 1), 35)
    """
    line = curve.at(0.5)
    reach = int(np.ceil(radius)) + 1
    ball = np.argwhere(np.ones((2 * reach + 1,) * 3)) - reach
    origin = np.maximum(np.floor(line.points.min(axis=0)).astype(int) - reach - 1, 0)
    stop = np.minimum(np.ceil(line.points.max(axis=0)).astype(int) + reach + 2, shape)
    size = np.maximum(stop - origin, 0)
    masks = []
    for is_inferred in (False, True):
        mask = np.zeros(size, dtype=bool)
        chosen = line.is_inferred == is_inferred
        for point, tangent in zip(line.points[chosen], line.tangents[chosen], strict=True):
            _paint_disc(mask, point - origin, tangent, radius, ball)
        masks.append(mask)
    z, y, x = (int(each) for each in origin)
    return InstanceMask.crop(masks[0], (z, y, x)), InstanceMask.crop(masks[1] & ~masks[0], (z, y, x))


def _paint_disc(
    mask: np.ndarray, point: np.ndarray, tangent: np.ndarray, radius: float, ball: Int[np.ndarray, "n 3"]
) -> None:
    """Paint the voxels of a disc normal to a line, one voxel thick."""
    voxels = ball + np.rint(point).astype(int)
    offset = voxels - point
    along = offset @ tangent
    across = (offset**2).sum(axis=1) - along**2
    voxels = voxels[(np.abs(along) <= 0.5) & (across <= radius**2)]
    inside = ((voxels >= 0) & (voxels < mask.shape)).all(axis=1)
    mask[tuple(voxels[inside].T)] = True
