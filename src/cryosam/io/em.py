"""Motive lists in EM format, ``.em``: 20 numbers per particle, as in the TOM toolbox, AV3 and their successors.

8-10, 11-13
    Position and shift x, y, z in voxels. The particle is at their sum. TOM counts from 1, as MATLAB does, so voxel
    ``v`` of this package is ``v + 1`` in TOM.
17, 18, 19
    phi, psi, theta in degrees, in this order. R = Rz(psi) Rx(theta) Rz(phi), which acts on x, y, z, rotates the
    reference into the orientation of the particle (``tom_rotate``).
1, 4, 5, 20
    Score, number of the particle, number of the tomogram, class.

A file has a header of 512 bytes and N x 20 numbers. Motive lists use single precision, so positions up to voxel 8192
are accurate to 0.001.

Sources: ``tom_emread`` for the header, AV3's description of the motive list for the columns.
"""

import struct
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from cryosam.errors import PointsFileError
from cryosam.io.atomic import atomic_path
from cryosam.io.points import PointTable
from cryosam.io.tomogram_names import rows_of_tomogram, whole_numbers, write_tomogram_numbers
from cryosam.io.tomogram_points import TomogramPoints, check_distinct, fill_rows
from cryosam.io.x_first import x_first

__all__ = ["read_em", "write_em"]

_N_HEADER, _N_COLUMNS = 512, 20
_BYTE_ORDERS = {0: ">", 2: ">", 3: ">", 5: ">", 6: "<"}  # OS-9, Convex, SGI, Mac, PC
_TYPES = {1: "i1", 2: "i2", 4: "i4", 5: "f4", 9: "f8"}
_PC, _SINGLE = 6, 5
_SCORE, _PARTICLE, _TOMOGRAM, _CLASS = 0, 3, 4, 19
_POSITIONS, _SHIFTS, _PHI_THETA_PSI = [7, 8, 9], [10, 11, 12], [16, 18, 17]


def read_em(path: Path, *, tomogram_name: str | None = None) -> PointTable:
    """Read points from a motive list.

    Parameters
    ----------
    path
        The list. Column 1 becomes the scores, the class becomes the names, and the angles become the rotations; each of
        these is None if its columns are zero in all rows. Shifts before the rotation, columns 14 to 16, are ignored,
        because programs use them differently.
    tomogram_name
        The tomogram whose points are read from a list of several, see
        `cryosam.io.tomogram_names.rows_of_tomogram`.

    Raises
    ------
    PointsFileError
        If this is not an EM file of 20 x N numbers, is shorter or longer than its header says, has a value that is not
        a number or a tomogram number that is not whole, or the tomogram is ambiguous.

    Examples
    --------
    >>> import tempfile
    >>> part = TomogramPoints(table=PointTable(np.array([[1.0, 2.0, 3.0]]), np.array([0.5])))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_em(Path(folder, "p.em"), [part])
    ...     read_em(Path(folder, "p.em"), tomogram_name="tomogram").scores
    array([0.5])
    """
    rows = _read_rows(path)
    is_here, name = rows_of_tomogram(path, whole_numbers(path, rows[:, _TOMOGRAM]), tomogram_name)
    rows = rows[is_here]
    angles = rows[:, _PHI_THETA_PSI]
    return PointTable(
        (rows[:, _POSITIONS] + rows[:, _SHIFTS] - 1)[:, ::-1],
        rows[:, _SCORE] if rows[:, _SCORE].any() else None,
        tuple(f"{c:g}" for c in rows[:, _CLASS]) if rows[:, _CLASS].any() else None,
        rotations=x_first(Rotation.from_euler("zxz", angles, degrees=True)) if angles.any() else None,
        tomogram_name=name,
    )


def write_em(path: Path, parts: Sequence[TomogramPoints]) -> None:
    """Write the points of one or several tomograms as a motive list.

    Parameters
    ----------
    path
        The file to create. The tomograms are numbered from 1; their names are written to a second file with the
        extension ``.doc``.
    parts
        Scores become column 1, kinds become the class, see `cryosam.io.tomogram_points.number_kinds`. Unknown
        orientations are written as zeros, which means "not rotated".

    Raises
    ------
    PointsFileError
        If two tomograms have the same name, or there is no tomogram.
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> part = TomogramPoints(table=PointTable(np.array([[1.0, 2.0, 3.5]])), name="TS_01")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_em(Path(folder, "p.em"), [part])
    ...     read_em(Path(folder, "p.em")).points
    array([[1. , 2. , 3.5]])
    """
    check_distinct(path, parts)
    rows = np.zeros((sum(len(part.table) for part in parts), _N_COLUMNS), dtype="<f4")
    rows[:, _PARTICLE] = np.arange(1, len(rows) + 1)
    for part, mine in fill_rows(rows, parts, positions=_POSITIONS, tomogram=_TOMOGRAM, score=_SCORE, kind=_CLASS):
        if part.table.rotations is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # at theta 0 only the sum of phi and psi is determined
                mine[:, _PHI_THETA_PSI] = x_first(part.table.rotations).as_euler("zxz", degrees=True)
    header = struct.pack("<bbbb3i", _PC, 0, 0, _SINGLE, _N_COLUMNS, len(rows), 1)
    with atomic_path(path) as temporary:
        temporary.write_bytes(header.ljust(_N_HEADER, b"\0") + rows.tobytes())
    write_tomogram_numbers(path, [part.name for part in parts])


def _read_rows(path: Path) -> Float[np.ndarray, "n c"]:
    content = path.read_bytes()
    if len(content) < _N_HEADER or content[0] not in _BYTE_ORDERS or content[3] not in _TYPES:
        raise PointsFileError(
            f"{path}: not an EM file, or an EM file whose machine code or data type motive lists do not use"
        )
    order = _BYTE_ORDERS[content[0]]
    n_columns, n_rows, n_sections = struct.unpack(f"{order}3i", content[4:16])
    if n_columns != _N_COLUMNS or n_sections != 1 or n_rows < 0:
        raise PointsFileError(
            f"{path}: a motive list has {_N_COLUMNS} x N x 1 numbers, this one {n_columns} x {n_rows} x {n_sections}"
        )
    dtype = np.dtype(order + _TYPES[content[3]])
    n_present = (len(content) - _N_HEADER) // dtype.itemsize
    if n_present < n_rows * n_columns:
        raise PointsFileError(f"{path}: the file is truncated: it has {n_present} of {n_rows * n_columns} numbers")
    if len(content) > _N_HEADER + n_rows * n_columns * dtype.itemsize:
        raise PointsFileError(
            f"{path}: the file has more than the {n_rows * n_columns} numbers of its header, so they may have moved; "
            "write it again"
        )
    rows = np.frombuffer(content, dtype, n_rows * n_columns, _N_HEADER).reshape(n_rows, n_columns).astype(float)
    if not np.isfinite(rows).all():
        raise PointsFileError(f"{path}, particle {int(np.argwhere(~np.isfinite(rows))[0, 0]) + 1}: not a finite number")
    return rows
