"""The content of the header of a volume, in any format."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryosam.errors import VoxelSizeError
from cryosam.io.locations import RemotePath, tomogram_name

__all__ = ["VolumeInfo", "settle_voxel_size"]

_log = logging.getLogger(__name__)

_TOLERANCE = 0.01


@dataclass(frozen=True)
class VolumeInfo:
    """Properties that are known without reading the voxels.

    Parameters
    ----------
    path
        The file, folder or address.
    format
        "MRC", "TIFF", "HDF5" or "OME-Zarr 0.4", ...
    shape
        Voxels along z, y, x.
    dtype
        Type of the voxels.
    spacing_angstrom
        Edge length of a voxel along z, y, x; None if the header has none.
    minimum, maximum
        Lowest and highest voxel according to the header; None if the header has none.
    origin_angstrom
        Position of voxel (0, 0, 0) according to the header, along z, y, x. Coordinates in voxels ignore it.
    shown_offset
        What the program that wrote the file adds to a stored voxel to get its value: 128 for signed bytes of IMOD.
    """

    path: Path | RemotePath
    format: str
    shape: tuple[int, int, int]
    dtype: np.dtype
    spacing_angstrom: tuple[float, float, float] | None = None
    minimum: float | None = None
    maximum: float | None = None
    origin_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shown_offset: int = 0

    @property
    def name(self) -> str:
        """Name of the tomogram, see `cryosam.io.locations.tomogram_name`."""
        return tomogram_name(self.path)

    @property
    def voxel_size_angstrom(self) -> float | None:
        """Edge length of a voxel; None if the header has none, because it is never guessed.

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
                f"{self.path}: the voxels are not cubes: the header has {edges} angstrom along z, y, x; "
                "if the header is wrong, give the correct size with --voxel-size"
            )
        return float(f"{np.median(spacing):.6g}")  # headers use single precision: 13.48 is stored as 13.4799995

    def settle_voxel_size(self, given_angstrom: float | None) -> float | None:
        """Return the given voxel size, or else that of the header; a contradiction is logged.

        Parameters
        ----------
        given_angstrom
            Edge length of a voxel that the user gave, or None.

        Raises
        ------
        VoxelSizeError
            If none is given, and the edges in the header differ.

        Examples
        --------
        >>> info = VolumeInfo(Path("a.mrc"), "MRC", (4, 5, 6), np.dtype("int8"))
        >>> info.settle_voxel_size(10.0)
        10.0
        """
        if given_angstrom is None:
            return self.voxel_size_angstrom
        try:
            stored = self.voxel_size_angstrom
        except VoxelSizeError:  # voxels that are no cubes, which the given size replaces
            return given_angstrom
        return settle_voxel_size(given_angstrom, stored, f"{self.path}: the header")


def settle_voxel_size(given_angstrom: float | None, stored_angstrom: float | None, source: str) -> float | None:
    """Return the given voxel size, or else the stored one; a difference of more than 1 % is logged.

    Parameters
    ----------
    given_angstrom
        Edge length of a voxel that the user gave, or None.
    stored_angstrom
        The one that a file has, or None.
    source
        What the file is, for the message.

    Examples
    --------
    >>> settle_voxel_size(None, 13.48, "run.json")
    13.48
    """
    if given_angstrom is None or stored_angstrom is None:
        return stored_angstrom if given_angstrom is None else given_angstrom
    if abs(given_angstrom - stored_angstrom) > _TOLERANCE * abs(stored_angstrom):
        _log.warning(
            "%s says that voxels are %.6g angstrom; the given %.6g are used", source, stored_angstrom, given_angstrom
        )
    return given_angstrom
