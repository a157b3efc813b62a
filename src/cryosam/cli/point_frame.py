"""The tomogram that a file of points belongs to, as the options of a command describe it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryosam.errors import PointsFileError, VoxelSizeError
from cryosam.io import PointTable, read_info, read_points

__all__ = ["PointFrame", "naming_options", "read_frame"]


@dataclass(frozen=True, kw_only=True)
class PointFrame:
    """What is known of the tomogram; None where it is not.

    Parameters
    ----------
    shape
        Voxels along z, y, x.
    voxel_size_angstrom
        Edge length of a voxel.
    name
        Name of the tomogram.
    """

    shape: tuple[int, int, int] | None = None
    voxel_size_angstrom: float | None = None
    name: str | None = None

    def read(self, path: Path, axes: str | None = None) -> PointTable:
        """Read points of this tomogram; ``axes`` is the order of the numbers in a list without column names."""
        given: dict[str, Any] = {"shape": self.shape, "voxel_size_angstrom": self.voxel_size_angstrom}
        return read_points(path, **given, tomogram_name=self.name, axes=axes)


def read_frame(tomogram: Path | None, voxel_size: float | None, name: str | None = None) -> PointFrame:
    """Read what the header of a tomogram says; the given voxel size and name have precedence."""
    if voxel_size is not None and not 0 < voxel_size < float("inf"):
        raise VoxelSizeError(f"the voxel size must be positive, this is {voxel_size:g}; correct --voxel-size")
    if tomogram is None:
        return PointFrame(voxel_size_angstrom=voxel_size, name=name)
    info = read_info(tomogram)
    return PointFrame(shape=info.shape, voxel_size_angstrom=info.settle_voxel_size(voxel_size), name=name or info.name)


@contextmanager
def naming_options(voxel_size: str, shape: str = "") -> Iterator[None]:
    """Add to an error about missing information the option that provides it."""
    try:
        yield
    except VoxelSizeError as error:
        raise VoxelSizeError(f"{error} ({voxel_size})") from error
    except PointsFileError as error:
        if shape and "shape" in str(error):
            raise PointsFileError(f"{error} ({shape})") from error
        raise
