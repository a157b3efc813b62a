"""Reading and writing points in every format, chosen by the file extension."""

import logging
import os
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any, Literal, NamedTuple

from cryosam.errors import InputError, InputNotFoundError, PointsFileError
from cryosam.io.locations import RemotePath, as_location, fetch
from cryosam.io.points import PointTable
from cryosam.io.tomogram_points import TomogramPoints

__all__ = ["POINT_FORMATS", "is_points_name", "read_points", "write_points"]

_log = logging.getLogger(__name__)

AnyPath = str | os.PathLike[str]


class _Format(NamedTuple):
    module: str
    needs: tuple[str, ...]  # keyword arguments of the reader
    description: str


POINT_FORMATS: dict[str, _Format] = {
    ".csv": _Format("csv_points", ("tomogram_name", "axes"), "comma-separated values: z,y,x in voxels from 0"),
    ".txt": _Format("csv_points", ("tomogram_name", "axes"), "the same, or a list without column names"),
    ".star": _Format("star", ("shape", "voxel_size_angstrom", "tomogram_name"), "RELION 3.1, 4 and 5, Warp and M"),
    ".ndjson": _Format("ndjson", (), "CryoET Data Portal"),
    ".json": _Format("copick", ("voxel_size_angstrom", "tomogram_name"), "copick: picks, or a project"),
    ".mod": _Format("imod", ("shape", "voxel_size_angstrom"), "IMOD"),
    ".tbl": _Format("dynamo", ("voxel_size_angstrom", "tomogram_name"), "Dynamo"),
    ".em": _Format("em", ("tomogram_name",), "motive list of TOM and AV3"),
}
"""Formats by file extension."""


def is_points_name(path: AnyPath) -> bool:
    """Whether the file extension is that of a points format.

    Examples
    --------
    >>> is_points_name("a/b.star"), is_points_name("a/b.mrc")
    (True, False)
    """
    return Path(path).suffix.lower() in POINT_FORMATS


def read_points(
    path: AnyPath,
    *,
    shape: Sequence[int] | None = None,
    voxel_size_angstrom: float | None = None,
    tomogram_name: str | None = None,
    axes: str | None = None,
) -> PointTable:
    r"""Read points and convert them to voxels of the tomogram, whatever the unit and origin of the file.

    Parameters
    ----------
    path
        ``.csv`` or ``.txt`` (`cryosam.io.csv_points`), ``.star`` (`cryosam.io.star`), ``.ndjson``
        (`cryosam.io.ndjson`), ``.json`` or the folder of a copick project (`cryosam.io.copick`), ``.mod``
        (`cryosam.io.imod`), ``.tbl`` (`cryosam.io.dynamo`) or ``.em`` (`cryosam.io.em`); or the address of such a file,
        ``https://`` or ``s3://``, which needs ``cryosam-et[remote]``.
    shape
        Shape of the tomogram, z, y, x in voxels; needed for RELION 5, whose coordinates start at the centre. It is
        logged how many points are outside of it.
    voxel_size_angstrom
        Voxel size of the tomogram; coordinates of RELION 5 and copick are in angstrom, those of RELION 4 in pixels of
        the tilt series.
    tomogram_name
        The tomogram whose points are read from a file that has several.
    axes
        Order of the numbers in a list without column names, such as "xyz"; they are voxels counted from 0.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    PointsFileError
        If the format is unknown, the file has no usable coordinates, or information to convert them is missing.
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
    location = as_location(path)
    if isinstance(location, RemotePath):
        return _read_remote(location, shape, voxel_size_angstrom, tomogram_name, axes)
    file = location
    kind = POINT_FORMATS[".json"] if file.is_dir() and not is_points_name(file) else _format(file)
    if not file.exists():
        raise InputNotFoundError(f"{file}: no such file; check the path")
    given = {"shape": shape, "voxel_size_angstrom": voxel_size_angstrom, "tomogram_name": tomogram_name}
    given["axes"] = axes
    if axes is not None and "axes" not in kind.needs:
        raise PointsFileError(f"{file}: this format says which axis is which; leave out the order {axes} (--axes)")
    try:
        table: PointTable = _function("read", kind)(file, **{name: given[name] for name in kind.needs})
    except OSError as error:
        raise PointsFileError(f"{file}: cannot be read: {error.strerror or error}") from error
    if shape is not None:
        _warn_outside(file, table, shape)
    return table


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
    """Write points; an existing file is replaced only when the new one is complete.

    Parameters
    ----------
    path
        A name as for `read_points`, except ``.txt`` and ``.json``: a copick project is written by
        `cryosam.io.copick.write_copick`, and a STAR file of Warp, or of several tomograms, by
        `cryosam.io.star_output.write_star`.
    table
        Points in voxels of the tomogram.
    shape, voxel_size_angstrom, tomogram_name
        Description of the tomogram, for formats that need it.
    relion, tilt_series_pixel_size_angstrom
        For STAR files only, see `cryosam.io.star_output.write_star`.

    Raises
    ------
    PointsFileError, VoxelSizeError
        If the format is unknown, or RELION 5 is requested without the shape or the voxel size.
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
    kind = _format(file)
    z, y, x = shape or (0, 0, 0)
    part = TomogramPoints(
        table=table,
        name=tomogram_name,
        shape=None if shape is None else (z, y, x),
        voxel_size_angstrom=voxel_size_angstrom,
    )
    match file.suffix.lower():
        case ".csv":
            _function("write", kind)(file, table)
        case ".star":
            from cryosam.io.star_output import write_star

            write_star(
                file,
                [part],
                program="relion4" if relion == 4 else "relion5",
                tilt_series_pixel_size_angstrom=tilt_series_pixel_size_angstrom,
            )
        case ".tbl" | ".em":
            _function("write", kind)(file, [part])
        case ".txt":
            raise PointsFileError(f"{file}: lists are read, not written; give a name that ends in .csv")
        case ".json":
            raise PointsFileError(f"{file}: copick picks are written as a project; give a folder")
        case _:
            _function("write", kind)(file, part)


def _warn_outside(file: Path, table: PointTable, shape: Sequence[int]) -> None:
    """Log how many points are outside the tomogram, whose voxels reach half a voxel beyond their centres."""
    is_outside = ((table.points < -0.5) | (table.points > [n - 0.5 for n in shape])).any(axis=1)
    if is_outside.any():
        first = ",".join(f"{c:.6g}" for c in table.points[is_outside][0])
        _log.warning(
            "%s: %d of %d points are outside the tomogram of %s voxels (z, y, x), such as %s; check the voxel size and "
            "the unit of the points",
            file,
            is_outside.sum(),
            len(table),
            " x ".join(map(str, shape)),
            first,
        )


def _read_remote(
    address: RemotePath,
    shape: Sequence[int] | None,
    voxel_size_angstrom: float | None,
    tomogram_name: str | None,
    axes: str | None,
) -> PointTable:
    """Read a file at a network address; error messages name the address."""
    _format(address)
    with tempfile.TemporaryDirectory(prefix="cryosam-") as folder:
        file = fetch(address, Path(folder))
        try:
            return read_points(
                file,
                shape=shape,
                voxel_size_angstrom=voxel_size_angstrom,
                tomogram_name=tomogram_name,
                axes=axes,
            )
        except InputError as error:
            raise type(error)(str(error).replace(str(file), str(address))) from error


def _function(verb: Literal["read", "write"], kind: _Format) -> Any:
    """Import the function when it is needed, because pandas and other packages are slow to import."""
    return getattr(import_module(f"cryosam.io.{kind.module}"), f"{verb}_{kind.module.removesuffix('_points')}")


def _format(path: PurePath) -> _Format:
    if not is_points_name(path):
        *others, last = POINT_FORMATS
        raise PointsFileError(f"{path}: unknown points format; use {', '.join(others)} or {last}")
    return POINT_FORMATS[path.suffix.lower()]
