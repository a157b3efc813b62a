"""A volume seen through a Gaussian, smoothed where it is looked at."""

from itertools import product

import numpy as np
from scipy import ndimage

from cryosam.arrays import Image, Plane, Volume
from cryosam.memory import Workspace
from cryosam.tomogram import Box, Voxels, slice_of

__all__ = ["Smoothed"]

_EDGE = 96  # voxels of a block, which is smoothed as a whole
_TRUNCATE = 4.0  # standard deviations, as of `scipy.ndimage.gaussian_filter`


class Smoothed:
    """A volume through a Gaussian (`Voxels`).

    Blocks are smoothed when a part of them is asked for, and kept: one click looks at a small part of a tomogram, a
    search at all of it. A voxel's value does not depend on the blocks.

    Parameters
    ----------
    source
        What is smoothed.
    sigma
        Standard deviation in voxels.
    workspace
        Has the array that keeps what was smoothed.

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
        """The voxels in a box, float32; not to be written to."""
        ranges = [s.indices(n) for s, n in zip(box, self.shape, strict=True)]
        for block in product(*(range(start // _EDGE, -(-stop // _EDGE)) for start, stop, _ in ranges)):
            if not self._is_done[block]:
                self._smooth(block)
        return self._voxels[box]

    def slice(self, plane: Plane, index: int) -> Image:
        """Image normal to ``plane`` at ``index``, float32, ``(h, w)`` in the order of the volume's axes."""
        return slice_of(self, plane, index)

    def digest(self) -> str:
        """Identity of the voxels."""
        return f"{self._source.digest()} smoothed by {self.sigma!r}"

    def _smooth(self, block: tuple[int, ...]) -> None:
        """Fill a block, from voxels so far around it that its edges do not show."""
        inner = [slice(i * _EDGE, min((i + 1) * _EDGE, n)) for i, n in zip(block, self.shape, strict=True)]
        outer = [
            slice(max(0, s.start - self._reach), min(n, s.stop + self._reach))
            for s, n in zip(inner, self.shape, strict=True)
        ]
        smooth = ndimage.gaussian_filter(self._source.crop((outer[0], outer[1], outer[2])), self.sigma)
        kept = tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
        self._voxels[tuple(inner)] = smooth[kept]
        self._is_done[block] = True
