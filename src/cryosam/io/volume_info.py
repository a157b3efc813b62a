"""What a volume's header says, whatever the format."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryosam.errors import VoxelSizeError
from cryosam.io.locations import RemotePath, tomogram_name

__all__ = ["VolumeInfo"]

_TOLERANCE = 0.01


@dataclass(frozen=True)
class VolumeInfo:
    """Facts that are known without reading the voxels.

    Parameters
    ----------
    path
        The file, folder or address.
    format
        "MRC", "TIFF", "HDF5" or "OME-Zarr 0.4", ...
    shape
        Voxels along z, y, x.
    dtype
        Of the voxels.
    spacing_angstrom
        Edge of a voxel along z, y, x, or None where the header does not say.
    minimum, maximum
        Of the voxels, as the header says, or None where it does not.
    origin_angstrom
        Where the header puts voxel (0, 0, 0), along z, y, x. It does not enter coordinates, which count voxels.
    """

    path: Path | RemotePath
    format: str
    shape: tuple[int, int, int]
    dtype: np.dtype
    spacing_angstrom: tuple[float, float, float] | None = None
    minimum: float | None = None
    maximum: float | None = None
    origin_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def name(self) -> str:
        """Name of the tomogram, see `cryosam.io.locations.tomogram_name`."""
        return tomogram_name(self.path)

    @property
    def voxel_size_angstrom(self) -> float | None:
        """Edge of a voxel, or None where the header does not say; it is never guessed.

        Raises
        ------
        VoxelSizeError
            If the edges differ by more than 1 %.

        Examples
        --------
        >>> VolumeInfo(Path("a.mrc"), "MRC", (4, 5, 6), np.dtype("int8"), (10.0, 10.0, 10.0)).voxel_size_angstrom
        10.0
        """
        if self.spacing_angstrom is None:
            return None
        spacing = np.asarray(self.spacing_angstrom)
        if not (np.isfinite(spacing).all() and (spacing > 0).all() and np.ptp(spacing) <= _TOLERANCE * spacing.max()):
            edges = " x ".join(f"{s:g}" for s in spacing)
            raise VoxelSizeError(
                f"{self.path}: the voxels are not cubes, the header says {edges} angstrom along z, y, x; "
                "if that is wrong, give the true size with --voxel-size"
            )
        return float(f"{np.median(spacing):.6g}")  # headers hold single precision: 13.48 is stored as 13.4799995
