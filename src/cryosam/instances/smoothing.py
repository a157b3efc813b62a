"""Gaussian smoothing of a volume on demand: only the parts that are read are smoothed."""

from itertools import product

import numpy as np
from scipy import ndimage

from cryosam.arrays import Image, Plane, Volume
from cryosam.memory import Workspace
from cryosam.tomogram import Box, Voxels, slice_of

__all__ = ["Smoothed"]

_EDGE = 96  # voxels along the edge of a block; a block is smoothed as a whole
_TRUNCATE = 4.0  # standard deviations, as of `scipy.ndimage.gaussian_filter`


class Smoothed:
    """A volume smoothed with a Gaussian filter (`Voxels`).

    A block is smoothed when a part of it is first read, and then kept: one click needs a small part of a tomogram, a
    search all of it. The value of a voxel does not depend on the division into blocks.

    Parameters
    ----------
    source
        The voxels to smooth.
    sigma
        Standard deviation in voxels.
    workspace
        Holds the array of the smoothed voxels.

    Examples
    --------
    >>> from cryosam.tomogram import Tomogram
    >>> volume = np.random.default_rng(0).random((9, 10, 11), dtype=np.float32)
    >>> part = Smoothed(Tomogram(volume), 1.5, Workspace()).crop(np.s_[2:4, 3:5, :])
    >>> bool((part == ndimage.gaussian_filter(volume, 1.5)[2:4, 3:5]).all())
    True
    """

    def __init__(self, source: Voxels, sigma: float, workspace: Workspace) -> None:
        self.sigma = sigma
        self._source = source
        self._reach = int(_TRUNCATE * sigma + 0.5)
        self._voxels: Volume = workspace.empty(source.shape, np.float32)
        self._is_done = np.zeros([-(-n // _EDGE) for n in source.shape], dtype=bool)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        return self._source.shape

    def crop(self, box: Box) -> Volume:
        """The voxels in a box, float32; do not write to them."""
        ranges = [s.indices(n) for s, n in zip(box, self.shape, strict=True)]
        for block in product(*(range(start // _EDGE, -(-stop // _EDGE)) for start, stop, _ in ranges)):
            if not self._is_done[block]:
                self._smooth(block)
        return self._voxels[box]

    def slice(self, plane: Plane, index: int) -> Image:
        """Image normal to ``plane`` at ``index``, float32, ``(h, w)`` in the order of the volume's axes."""
        return slice_of(self, plane, index)

    def digest(self) -> str:
        """Digest of the smoothed voxels: that of the source, and sigma."""
        return f"{self._source.digest()} smoothed by {self.sigma!r}"

    def _smooth(self, block: tuple[int, ...]) -> None:
        """Smooth a block, with enough voxels around it that no artefacts appear at its borders."""
        inner = [slice(i * _EDGE, min((i + 1) * _EDGE, n)) for i, n in zip(block, self.shape, strict=True)]
        outer = [
            slice(max(0, s.start - self._reach), min(n, s.stop + self._reach))
            for s, n in zip(inner, self.shape, strict=True)
        ]
        smooth = ndimage.gaussian_filter(self._source.crop((outer[0], outer[1], outer[2])), self.sigma)
        kept = tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
        self._voxels[tuple(inner)] = smooth[kept]
        self._is_done[block] = True
