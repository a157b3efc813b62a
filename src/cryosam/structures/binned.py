"""A tomogram at a coarser voxel size, as the search for structures sees it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import sparse

from cryosam.arrays import Points, Volume
from cryosam.errors import VoxelSizeError
from cryosam.intensities import MAD_TO_DEVIATION, Normalised
from cryosam.missing_wedge import MissingWedge

__all__ = ["Binned", "BinnedTomogram"]


@dataclass(frozen=True, eq=False)
class Binned:
    """A volume of means over cubes of voxels.

    Parameters
    ----------
    data
        ``(z, y, x)`` float32, protein bright; median 0, robust standard deviation 1, clipped.
    factor
        Voxels of the tomogram along the edge of a cube, a whole number or that and a half.
    voxel_size_angstrom
        Edge of a cube.
    """

    data: Volume
    factor: float
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
        """Means over cubes that are about ``voxel_size_angstrom`` wide.

        Cubes are a whole number of voxels wide, or that and a half: so tomograms of all voxel sizes are seen at about
        the same scale, and noise is equally strong in all cubes. What is left at the ends and does not fill a cube is
        left out. Values beyond ``clip`` robust standard deviations are clipped.
        """
        wanted = max(voxel_size_angstrom / self.voxel_size_angstrom, 1.0)
        halves = np.array([np.floor(2 * wanted), np.floor(2 * wanted) + 1]) / 2
        factor = min(float(halves[np.argmin(np.abs(np.log(halves / wanted)))]), *self.shape)
        over_z, over_y, over_x = (_means(n, factor) for n in self.shape)
        out = np.zeros((over_z.shape[0], over_y.shape[0], over_x.shape[0]), dtype=np.float32)
        _, height, width = self.shape
        for z in range(self.shape[0]):  # section by section: the tomogram may be larger than memory
            rows = over_z.indices[over_z.indptr[z] : over_z.indptr[z + 1]]
            if len(rows):
                section = self.voxels.crop((slice(z, z + 1), slice(0, height), slice(0, width)))[0]
                section = over_x @ (over_y @ section).T
                for row, weight in zip(rows, over_z.data[over_z.indptr[z] : over_z.indptr[z + 1]], strict=True):
                    out[row] += weight * section.T
        out -= np.median(out)
        out /= max(MAD_TO_DEVIATION * float(np.median(np.abs(out))), 1e-9)
        return Binned(np.clip(out, -clip, clip, out=out), factor, factor * self.voxel_size_angstrom)


def _means(n: int, width: float) -> sparse.csc_array:
    """Matrix that takes means over intervals of a width, side by side, of n values that are one wide each.

    Examples
    --------
    >>> (_means(5, 1.5) @ np.arange(5.0)).round(2)
    array([0.33, 1.67, 3.33])
    """
    n_means = int(n / width + 1e-6)
    starts = np.arange(n_means) * width
    first = np.floor(starts + 1e-9).astype(int)
    rows, columns, weights = [], [], []
    for step in range(int(np.ceil(width)) + 1):
        column = first + step
        overlap = np.minimum(starts + width, column + 1) - np.maximum(starts, column)
        inside = (overlap > 1e-9) & (column < n)
        rows.append(np.flatnonzero(inside))
        columns.append(column[inside])
        weights.append(overlap[inside] / width)
    parts = np.concatenate(weights).astype(np.float32), (np.concatenate(rows), np.concatenate(columns))
    return sparse.csc_array(parts, shape=(n_means, n))
