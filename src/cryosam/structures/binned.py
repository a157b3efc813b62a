"""A tomogram at a coarser voxel size, as the search for structures sees it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from cryosam.arrays import Points, Volume
from cryosam.errors import VoxelSizeError
from cryosam.intensities import Normalised
from cryosam.missing_wedge import MissingWedge

__all__ = ["Binned", "BinnedTomogram"]

_SPREAD = 1.4826
"""Standard deviation of a normal distribution, in units of its median absolute deviation."""


@dataclass(frozen=True, eq=False)
class Binned:
    """A volume of means over cubes of voxels.

    Parameters
    ----------
    data
        ``(z, y, x)`` float32, protein bright; median 0, robust standard deviation 1, clipped.
    factor
        Voxels of the tomogram along the edge of a cube.
    voxel_size_angstrom
        Edge of a cube.
    """

    data: Volume
    factor: int
    voxel_size_angstrom: float

    def to_voxels(self, points: Float[np.ndarray, "n 3"]) -> Points:
        """Positions in the tomogram of positions in this volume, both in voxels; inverse of `from_voxels`.

        Examples
        --------
        >>> Binned(np.zeros((2, 2, 2), dtype=np.float32), 2, 20.0).to_voxels(np.array([[0.0, 1.0, 0.25]])).tolist()
        [[0.5, 2.5, 1.0]]
        """
        return np.asarray(points * self.factor + (self.factor - 1) / 2, dtype=float)

    def from_voxels(self, points: Float[np.ndarray, "n 3"]) -> Points:
        """Positions in this volume of positions in the tomogram."""
        return np.asarray((points - (self.factor - 1) / 2) / self.factor, dtype=float)


@dataclass(frozen=True, eq=False)
class BinnedTomogram:
    """A tomogram that gives itself at any coarser voxel size.

    Parameters
    ----------
    voxels
        Its normalised voxels, protein bright.
    voxel_size_angstrom
        Edge of a voxel.
    wedge
        The missing wedge.
    """

    voxels: Normalised
    voxel_size_angstrom: float
    wedge: MissingWedge

    @classmethod
    def of(cls, voxels: Normalised, wedge: MissingWedge) -> "BinnedTomogram":
        """The tomogram behind normalised voxels.

        Raises
        ------
        VoxelSizeError
            If the voxel size is not known: structures are told by their size in angstrom.
        """
        size = voxels.source.voxel_size_angstrom
        if size is None:
            raise VoxelSizeError(
                f"{voxels.source.name}: the voxel size is not known, and membranes and filaments are told by their "
                "size; set it with --voxel-size"
            )
        return cls(voxels, size, wedge)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the tomogram along z, y, x."""
        return self.voxels.shape

    def at(self, voxel_size_angstrom: float, *, clip: float = 4.0) -> Binned:
        """Means over cubes of whole voxels, at most ``voxel_size_angstrom`` wide (at least one voxel).

        Voxels at the end that do not fill a cube are left out. Values beyond ``clip`` robust standard deviations are
        clipped.
        """
        factor = max(int(voxel_size_angstrom / self.voxel_size_angstrom + 1e-6), 1)
        factor = min(factor, *self.shape)
        shape = [n // factor for n in self.shape]
        out = np.empty(shape, dtype=np.float32)
        for z in range(shape[0]):  # slab by slab: the tomogram may be larger than memory
            slab = self.voxels.crop(
                (
                    slice(z * factor, (z + 1) * factor),
                    slice(0, shape[1] * factor),
                    slice(0, shape[2] * factor),
                )
            )
            out[z] = slab.reshape(factor, shape[1], factor, shape[2], factor).mean(axis=(0, 2, 4))
        out -= np.median(out)
        out /= max(_SPREAD * float(np.median(np.abs(out))), 1e-9)
        return Binned(np.clip(out, -clip, clip, out=out), factor, factor * self.voxel_size_angstrom)
