"""Points in the format of the CryoET Data Portal, ``.ndjson``: one JSON object per line.

``location``
    x, y, z in voxels of the tomogram in the portal, counted from 0.
``xyz_rotation_matrix``
    For an ``orientedPoint``: three rows that act on x, y, z; the matrix rotates the reference of the object into the
    orientation of the object.
``instance_id``
    For an ``instancePoint``: points with the same id are on one object.

A file has one kind of object, named in the file name. Scores cannot be stored.

Sources: the data documentation of the portal, and how copick reads these files (location x voxel spacing in angstrom,
and the same matrix).
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from cryosam.errors import PointsFileError
from cryosam.io.atomic import atomic_path
from cryosam.io.points import PointTable
from cryosam.io.text_files import read_text
from cryosam.io.tomogram_points import TomogramPoints
from cryosam.io.x_first import x_first, x_first_matrices

__all__ = ["read_ndjson", "rotations_from_matrices", "write_ndjson"]

_log = logging.getLogger(__name__)

_MATRIX = "xyz_rotation_matrix"
_NOT_ORTHOGONAL = 0.01


def read_ndjson(path: Path) -> PointTable:
    r"""Read points of the CryoET Data Portal.

    Parameters
    ----------
    path
        Points, oriented points or points of instances. If only some are oriented, all orientations are dropped and a
        warning is logged.

    Raises
    ------
    PointsFileError
        If a line is not a JSON object with a location of three numbers, or a matrix is not a rotation.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "p.ndjson").write_text('{"type": "point", "location": {"x": 30, "y": 20, "z": 10}}\n')
    ...     read_ndjson(Path(folder, "p.ndjson")).points
    array([[10., 20., 30.]])
    """
    points, matrices, instances = [], [], []
    for number, row in _read_lines(path):
        where = f"{path}, line {number}"
        location = row.get("location")
        if not isinstance(location, dict) or not set("xyz") <= set(location):
            raise PointsFileError(f"{where}: no location with x, y and z, which every point of the portal has")
        points.append([_number(where, axis, location[axis]) for axis in "zyx"])
        if row.get(_MATRIX) is not None:
            matrices.append(_matrix(where, row[_MATRIX]))
        if isinstance(row.get("instance_id"), int):
            instances.append(row["instance_id"])
    rotations = None
    if matrices and len(matrices) == len(points):
        rotations = rotations_from_matrices(path, np.array(matrices))
    elif matrices:
        _log.warning(
            "%s: only %d of %d points have an orientation, so orientations are ignored",
            path,
            len(matrices),
            len(points),
        )
    has_instances = len(instances) == len(points) and len(points) > 0
    return PointTable(
        np.array(points, dtype=float).reshape(-1, 3),
        instances=np.array(instances, dtype=np.int64) if has_instances else None,
        rotations=rotations,
    )


def write_ndjson(path: Path, part: TomogramPoints) -> None:
    """Write the points of one kind in one tomogram, with orientations if they are known.

    Raises
    ------
    PointsFileError
        If there are several kinds; each needs a separate file.
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_ndjson(Path(folder, "p.ndjson"), TomogramPoints(table=PointTable(np.array([[10.0, 20.0, 30.0]]))))
    ...     print(Path(folder, "p.ndjson").read_text())
    {"type": "point", "location": {"x": 30.0, "y": 20.0, "z": 10.0}}
    <BLANKLINE>
    """
    table = part.table
    kinds = list(dict.fromkeys(table.names or ()))
    if len(kinds) > 1:
        raise PointsFileError(
            f"{path}: a file of the CryoET Data Portal has one kind, but the points have {', '.join(kinds)}; "
            "write each kind to a separate file"
        )
    matrices = None if table.rotations is None else x_first_matrices(table.rotations).round(9)
    lines = []
    for i, (z, y, x) in enumerate(table.points.round(4).tolist()):
        row: dict[str, Any] = {"type": "point" if matrices is None else "orientedPoint"}
        row["location"] = {"x": x, "y": y, "z": z}
        if matrices is not None:
            row[_MATRIX] = matrices[i].tolist()
        lines.append(json.dumps(row) + "\n")
    with atomic_path(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def rotations_from_matrices(path: Path, matrices: Float[np.ndarray, "n 3 3"]) -> Rotation:
    """Convert matrices that act on x, y, z to rotations that act on z, y, x.

    Raises
    ------
    PointsFileError
        If a matrix is not a rotation: not orthogonal, or a reflection.

    Examples
    --------
    >>> x_to_y = np.array([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    >>> rotations_from_matrices(Path("p.ndjson"), x_to_y).apply([0.0, 0.0, 1.0]).round() + 0.0  # z, y, x
    array([[0., 1., 0.]])
    """
    products = matrices @ matrices.transpose(0, 2, 1)
    is_rotation = (np.abs(products - np.eye(3)).max(axis=(1, 2)) < _NOT_ORTHOGONAL) & (np.linalg.det(matrices) > 0)
    if not is_rotation.all():
        raise PointsFileError(
            f"{path}, point {int(np.argmin(is_rotation)) + 1}: its matrix is not a rotation; the rows must have "
            "length 1, be orthogonal and right-handed"
        )
    return x_first(Rotation.from_matrix(matrices))


def _read_lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    rows = []
    try:
        for number, line in enumerate(read_text(path).splitlines(), 1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise PointsFileError(f"{path}, line {number}: not a JSON object; every line must be one")
                rows.append((number, row))
    except UnicodeDecodeError as error:
        raise PointsFileError(f"{path}: not a text file of JSON lines") from error
    except json.JSONDecodeError as error:
        raise PointsFileError(f"{path}, line {len(rows) + 1}: not JSON, or truncated ({error.msg})") from error
    return rows


def _number(where: str, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise PointsFileError(f"{where}: {name} is {value!r}, not a number")
    return float(value)


def _matrix(where: str, value: object) -> Float[np.ndarray, "3 3"]:
    try:
        matrix = np.array(value, dtype=float)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise PointsFileError(f"{where}: {_MATRIX} must be three rows of three numbers")
    return matrix
