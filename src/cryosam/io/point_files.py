"""One door to every format of points; the name's ending says which."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from cryosam.errors import InputNotFoundError, PointsFileError
from cryosam.io.csv_points import read_csv, write_csv
from cryosam.io.points import PointTable

__all__ = ["read_points", "write_points"]

AnyPath = str | os.PathLike[str]


def read_points(
    path: AnyPath,
    *,
    shape: Sequence[int] | None = None,
    voxel_size_angstrom: float | None = None,
    tomogram_name: str | None = None,
) -> PointTable:
    r"""Read points, in voxels of the tomogram whatever the file's own unit and origin.

    Parameters
    ----------
    path
        ``.csv`` (`cryosam.io.csv_points.read_csv`) or ``.star`` (`cryosam.io.star.read_star`).
    shape
        Of the tomogram, z, y, x in voxels; RELION 5 counts from its centre.
    voxel_size_angstrom
        Of the tomogram; RELION 5 counts in angstrom, RELION 4 in the pixels of the tilt series.
    tomogram_name
        The tomogram whose points to take from a STAR file that holds several.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    PointsFileError
        If the format is not known, the file has no usable coordinates, or more must be known to use them.
    VoxelSizeError
        If the voxel size is needed and is not given.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "picks.csv").write_text("x,y,z\n30,20,10\n")
    ...     read_points(f"{folder}/picks.csv").points
    array([[10., 20., 30.]])
    """
    file = Path(path)
    kind = _format(file)
    if not file.exists():
        raise InputNotFoundError(f"{file}: no such file; check the path")
    try:
        if kind == "csv":
            return read_csv(file)
        from cryosam.io.star import read_star  # pandas takes its time to import

        return read_star(file, shape=shape, voxel_size_angstrom=voxel_size_angstrom, tomogram_name=tomogram_name)
    except OSError as error:
        raise PointsFileError(f"{file}: cannot be read: {error.strerror or error}") from error


def write_points(
    path: AnyPath,
    table: PointTable,
    *,
    shape: Sequence[int] | None = None,
    voxel_size_angstrom: float | None = None,
    tomogram_name: str = "tomogram",
    relion: Literal[4, 5] = 5,
    tilt_series_pixel_size_angstrom: float | None = None,
) -> None:
    """Write points; the file appears under its name only once it is whole, and replaces what was there.

    Parameters
    ----------
    path
        ``.csv`` (`cryosam.io.csv_points.write_csv`) or ``.star`` (`cryosam.io.star.write_star`).
    table
        In voxels of the tomogram.
    shape, voxel_size_angstrom, tomogram_name, relion, tilt_series_pixel_size_angstrom
        For STAR files only, see `cryosam.io.star.write_star`.

    Raises
    ------
    PointsFileError, VoxelSizeError
        If the format is not known, or RELION 5 is asked for without the shape or the voxel size.
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
    file = Path(path)
    if _format(file) == "csv":
        write_csv(file, table)
        return
    from cryosam.io.star import write_star

    write_star(
        file,
        table,
        shape=shape,
        voxel_size_angstrom=voxel_size_angstrom,
        tomogram_name=tomogram_name,
        relion=relion,
        tilt_series_pixel_size_angstrom=tilt_series_pixel_size_angstrom,
    )


def _format(path: Path) -> Literal["csv", "star"]:
    match path.suffix.lower():
        case ".csv":
            return "csv"
        case ".star":
            return "star"
        case _:
            raise PointsFileError(f"{path}: unknown format of points; known are .csv and .star")
