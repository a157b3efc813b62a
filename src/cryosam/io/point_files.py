"""One door to every format of points; the name's ending says which."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cryosam.errors import InputError, InputNotFoundError
from cryosam.io.csv_points import read_csv_points, write_csv_points
from cryosam.io.points import PointTable

if TYPE_CHECKING:
    from cryosam.io.star import StarVersion

__all__ = ["read_points", "write_points"]

AnyPath = str | os.PathLike[str]
_SUFFIXES = (".csv", ".star")


def read_points(
    path: AnyPath,
    *,
    shape: tuple[int, int, int] | None = None,
    voxel_size_angstrom: float | None = None,
    tomogram: str | None = None,
) -> PointTable:
    r"""Read points, whatever the file's unit and order, as voxels z, y, x.

    Parameters
    ----------
    path
        CSV with a header ``z,y,x`` in voxels, or RELION's STAR (3.1 and 4: pixels; 5: centred angstrom).
    shape, voxel_size_angstrom
        Of the tomogram, which the points of a STAR file may need; see `cryosam.io.star`.
    tomogram
        Name of the tomogram, where a STAR file is about several.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    InputError
        If the format is not known.
    PointsFileError
        If the file holds no usable coordinates; the message says where.
    VoxelSizeError
        If the voxel size is needed and is not given.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "picks.csv")
    ...     _ = path.write_text("x,y,z,score\n30,20,10,0.5\n")
    ...     read_points(path).points
    array([[10., 20., 30.]])
    """
    existing = Path(path)
    suffix = _suffix(existing)
    if not existing.is_file():
        raise InputNotFoundError(f"{existing}: no such file; check the path")
    try:
        if suffix == ".csv":
            return read_csv_points(existing)
        from cryosam.io.star import read_star_points  # pandas takes a while to import

        return read_star_points(existing, shape, voxel_size_angstrom, tomogram)
    except OSError as error:
        raise InputError(f"{existing}: cannot be read: {error.strerror or error}") from error


def write_points(
    path: AnyPath,
    table: PointTable,
    *,
    shape: tuple[int, int, int] | None = None,
    voxel_size_angstrom: float | None = None,
    tomogram_name: str = "tomogram",
    star_version: "StarVersion" = "relion5",
    binning: float = 1.0,
) -> None:
    """Write points; the file appears under its name only once it is whole, and replaces what was there.

    Parameters
    ----------
    path
        ``.csv`` (voxels z, y, x, and scores, instances and names where they are known) or ``.star``.
    table
        Points in voxels.
    shape, voxel_size_angstrom
        Of the tomogram; "relion5" needs both.
    tomogram_name
        Written to STAR files: the name that RELION knows the tomogram by.
    star_version
        "relion5" (centred angstrom) or "relion4" (pixels; RELION 3.1 reads them too).
    binning
        Of the tomogram, for "relion4", which counts pixels of the unbinned tilt series.

    Raises
    ------
    InputError
        If the format is not known.
    VoxelSizeError, PointsFileError
        If "relion5" lacks the voxel size or the shape.
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> table = PointTable(np.array([[4.0, 5.0, 6.0]]), scores=np.array([0.75]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_points(f"{folder}/p.star", table, shape=(8, 10, 12), voxel_size_angstrom=10.0)
    ...     again = read_points(f"{folder}/p.star", shape=(8, 10, 12), voxel_size_angstrom=10.0)
    >>> again.points, again.scores
    (array([[4., 5., 6.]]), array([0.75]))
    """
    target = Path(path)
    if _suffix(target) == ".csv":
        write_csv_points(target, table)
        return
    from cryosam.io.star import write_star_points  # pandas takes a while to import

    write_star_points(target, table, shape, voxel_size_angstrom, tomogram_name, star_version, binning)


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(f"{path}: unknown format of points; known are {' '.join(_SUFFIXES)}")
    return suffix
