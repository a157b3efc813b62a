"""Dynamo tables, ``.tbl``: one line per particle, columns identified by their numbers.

4-6, 24-26
    Shift and position x, y, z in voxels. The particle is at their sum. Dynamo counts from 1, as MATLAB does, so voxel
    ``v`` of this package is ``v + 1`` in Dynamo.
7-9
    ``tdrot``, ``tilt``, ``narot`` in degrees. ``dynamo_euler2matrix`` returns the matrix M = Rz(narot) Rx(tilt)
    Rz(tdrot), which acts on x, y, z. M rotates the particle onto the template, so the inverse of M rotates the template
    into the orientation of the particle. The orientation with the Dynamo angles (-47.2730, 1.1777, -132.3000) has the
    RELION angles (137.7000, 1.1777, 42.7270): both give the same reconstruction, and the tests check this pair.
10, 20, 21, 22, 36
    Score, number of the tomogram, region (for points on filaments: the number of the filament), class, and voxel size
    in angstrom.

Sources: Dynamo wiki, "Table convention"; the pair of angles is from the package eulerangles.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from cryosam.errors import PointsFileError
from cryosam.io.atomic import atomic_path
from cryosam.io.points import PointTable
from cryosam.io.relion import SAME_SIZE
from cryosam.io.text_files import read_text
from cryosam.io.tomogram_names import rows_of_tomogram, whole_numbers, write_tomogram_numbers
from cryosam.io.tomogram_points import TomogramPoints, check_distinct, fill_rows
from cryosam.io.x_first import x_first

__all__ = ["read_dynamo", "write_dynamo"]

_N_COLUMNS, _N_NEEDED = 42, 26
_TAG, _IS_ALIGNED, _IS_AVERAGED, _CC, _TOMOGRAM, _REGION, _CLASS, _APIX = (c - 1 for c in (1, 2, 3, 10, 20, 21, 22, 36))
_SHIFTS, _ANGLES, _POSITIONS = [3, 4, 5], [6, 7, 8], [23, 24, 25]
_USED = [*_SHIFTS, *_ANGLES, _CC, _TOMOGRAM, _CLASS, *_POSITIONS]


def read_dynamo(
    path: Path, *, voxel_size_angstrom: float | None = None, tomogram_name: str | None = None
) -> PointTable:
    r"""Read points from a Dynamo table.

    Parameters
    ----------
    path
        The table. Column 10 becomes the scores, the class becomes the names, and the angles become the rotations; each
        of these is None if its columns are zero in all rows.
    voxel_size_angstrom
        Voxel size of the tomogram. If column 36 has another size, the table is for another binning and is refused.
    tomogram_name
        The tomogram whose points are read from a table of several, see
        `cryosam.io.tomogram_names.rows_of_tomogram`.

    Raises
    ------
    PointsFileError
        If a line has fewer than 26 numbers, or not as many as the others, the tomogram is ambiguous, or the voxels have
        another size.

    Examples
    --------
    >>> import tempfile
    >>> row = [0.0] * 42
    >>> row[23:26] = 31, 21, 11
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "picks.tbl").write_text(" ".join(map(str, row)) + "\n")
    ...     read_dynamo(Path(folder, "picks.tbl")).points
    array([[10., 20., 30.]])
    """
    rows = _read_rows(path)
    is_here, name = rows_of_tomogram(path, whole_numbers(path, rows[:, _TOMOGRAM]), tomogram_name)
    rows = rows[is_here]
    sizes = rows[:, _APIX]
    if voxel_size_angstrom is not None and (sizes > 0).any():
        other = sizes[(sizes > 0) & (np.abs(sizes / voxel_size_angstrom - 1) > SAME_SIZE)]
        if len(other):
            raise PointsFileError(
                f"{path}: the voxel size in column 36 is {other[0]:g} angstrom, but that of the tomogram is "
                f"{voxel_size_angstrom:g}; give the tomogram that the table was made for, or set the column to 0"
            )
    return PointTable(
        (rows[:, _POSITIONS] + rows[:, _SHIFTS] - 1)[:, ::-1],
        _unless_zero(rows[:, _CC]),
        tuple(f"{c:g}" for c in rows[:, _CLASS]) if rows[:, _CLASS].any() else None,
        rotations=_to_rotations(rows[:, _ANGLES]) if rows[:, _ANGLES].any() else None,
        tomogram_name=name,
    )


def write_dynamo(path: Path, parts: Sequence[TomogramPoints], *, has_regions: bool = False) -> None:
    """Write the points of one or several tomograms as a Dynamo table.

    Parameters
    ----------
    path
        The file to create. The tomograms are numbered from 1; their names are written to a second file with the
        extension ``.doc``, which Dynamo calls a table map.
    parts
        Scores become column 10, kinds become the class, see `cryosam.io.tomogram_points.number_kinds`. Unknown
        orientations are written as zeros, which Dynamo reads as "not rotated".
    has_regions
        Instances become the region, for points of which several are on one thing.

    Raises
    ------
    PointsFileError
        If two tomograms have the same name, or there is no tomogram.
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> part = TomogramPoints(table=PointTable(np.array([[1.0, 2.0, 3.0]])), name="TS_01")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_dynamo(Path(folder, "p.tbl"), [part])
    ...     print(Path(folder, "p.tbl").read_text().split()[23:26], Path(folder, "p.doc").read_text())
    ['4', '3', '2'] 1 TS_01
    <BLANKLINE>
    """
    check_distinct(path, parts)
    rows = np.zeros((sum(len(part.table) for part in parts), _N_COLUMNS))
    rows[:, _TAG] = np.arange(1, len(rows) + 1)
    rows[:, [_IS_ALIGNED, _IS_AVERAGED]] = 1
    for part, mine in fill_rows(rows, parts, positions=_POSITIONS, tomogram=_TOMOGRAM, score=_CC, kind=_CLASS):
        if part.table.rotations is not None:
            mine[:, _ANGLES] = _to_angles(part.table.rotations)
        if has_regions and part.table.instances is not None:
            mine[:, _REGION] = part.table.instances
        if part.voxel_size_angstrom is not None:
            mine[:, _APIX] = part.voxel_size_angstrom
    with atomic_path(path) as temporary:
        temporary.write_text("".join(" ".join(f"{v:.9g}" for v in row) + "\n" for row in rows), encoding="utf-8")
    write_tomogram_numbers(path, [part.name for part in parts])


def _to_rotations(angles: Float[np.ndarray, "n 3"]) -> Rotation:
    """Convert ``tdrot``, ``tilt``, ``narot`` in degrees to orientations."""
    return x_first(Rotation.from_euler("zxz", angles, degrees=True).inv())


def _to_angles(rotations: Rotation) -> Float[np.ndarray, "n 3"]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at tilt 0 only the sum of tdrot and narot is determined
        return np.asarray(x_first(rotations).inv().as_euler("zxz", degrees=True))


def _unless_zero(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"] | None:
    return values if values.any() else None


def _read_rows(path: Path) -> Float[np.ndarray, "n c"]:
    """Read all rows; unused columns may contain anything, such as complex numbers, and are read as 0."""
    rows: list[Float[np.ndarray, " c"]] = []
    n_columns = 0
    try:
        lines = read_text(path).splitlines()
    except UnicodeDecodeError as error:
        raise PointsFileError(f"{path}: not a Dynamo table; it is not a text file") from error
    for number, line in enumerate(lines, 1):
        cells = line.split()
        if not cells or cells[0][0] in "%#":
            continue
        if len(cells) < _N_NEEDED:
            raise PointsFileError(
                f"{path}, line {number}: {len(cells)} columns, but a Dynamo table has {_N_NEEDED} or more"
            )
        n_columns = n_columns or len(cells)
        if len(cells) != n_columns:
            raise PointsFileError(
                f"{path}, line {number}: {len(cells)} columns, but the lines above have {n_columns}; it may be cut off"
            )
        row = np.zeros(_N_COLUMNS)
        for column in [*_USED, *([_APIX] if len(cells) > _APIX else [])]:
            row[column] = _number(path, number, column, cells[column])
        rows.append(row)
    return np.array(rows).reshape(-1, _N_COLUMNS)


def _number(path: Path, line: int, column: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise PointsFileError(f"{path}, line {line}: column {column + 1} is {text!r}, not a number")
    return value
