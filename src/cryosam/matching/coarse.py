"""A tomogram in coarse cells."""

import numpy as np
from jaxtyping import Float

from cryosam.tomogram import Voxels

__all__ = ["block_means", "stride_for"]

_NEXT_STRIDE = 0.7  # voxels per pixel, above the last whole number, from which blocks of one voxel more are averaged


def stride_for(pixel: float) -> int:
    """Voxels along a block whose mean stands for them, where a box is sampled with pixels of some voxels.

    Examples
    --------
    >>> [stride_for(pixel) for pixel in (0.5, 1.6, 1.8, 2.8)]
    [1, 1, 2, 3]
    """
    return max(1, int(pixel + 1 - _NEXT_STRIDE))


def block_means(voxels: Voxels, stride: int) -> Float[np.ndarray, "z y x"]:
    """Mean of each block of ``stride`` voxels along every axis, read slab by slab; incomplete blocks are left out.

    Examples
    --------
    >>> from cryosam.tomogram import Tomogram
    >>> block_means(Tomogram(np.arange(2 * 2 * 5, dtype=np.float32).reshape(2, 2, 5)), 2)
    array([[[ 8., 10.]]], dtype=float32)
    """
    z, y, x = (max(1, n // stride) for n in voxels.shape)
    slabs = []
    for index in range(z):
        slab = voxels.crop((slice(index * stride, (index + 1) * stride), slice(0, y * stride), slice(0, x * stride)))
        slabs.append(slab.reshape(len(slab), y, stride, x, stride).mean(axis=(0, 2, 4)))
    return np.stack(slabs).astype(np.float32, copy=False)
