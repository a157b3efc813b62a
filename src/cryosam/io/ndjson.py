"""Points as the CryoET Data Portal has them, ``.ndjson``: a JSON object a line.

``location``
    x, y, z in voxels of the portal's tomogram; voxel 0 is the first.
``xyz_rotation_matrix``
    Of an ``orientedPoint``: three rows, on x, y, z; it turns the object's reference to lie as the object does.
``instance_id``
    Of an ``instancePoint``: which points are of one object.

A file holds one kind of object, and the file's name says which. There is no place for scores.

Sources: the portal's documentation of its data, and how copick reads these files (location x voxel spacing in
angstrom, the matrix as its own).
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
        Points, oriented points or points of instances. Where only some are oriented, no orientation is kept, and that
        is logged.

    Raises
    ------
    PointsFileError
        If a line is not a JSON object with a location of three numbers, or a matrix is no rotation.

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
            raise PointsFileError(f"{where}: no location with x, y and z; the portal's points have one each")
        points.append([_number(where, axis, location[axis]) for axis in "zyx"])
        if row.get(_MATRIX) is not None:
            matrices.append(_matrix(where, row[_MATRIX]))
        if isinstance(row.get("instance_id"), int):
            instances.append(row["instance_id"])
    rotations = None
    if matrices and len(matrices) == len(points):
        rotations = rotations_from_matrices(path, np.array(matrices))
    elif matrices:
        _log.warning("%s: %d of %d points have an orientation; none is used", path, len(matrices), len(points))
    has_instances = len(instances) == len(points) and len(points) > 0
    return PointTable(
        np.array(points, dtype=float).reshape(-1, 3),
        instances=np.array(instances, dtype=np.int64) if has_instances else None,
        rotations=rotations,
    )


def write_ndjson(path: Path, part: TomogramPoints) -> None:
    """Write the points of one kind in one tomogram; oriented where the orientations are known.

    Raises
    ------
    PointsFileError
        If there are several kinds: each needs a file of its own.
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
            f"{path}: a file of the CryoET Data Portal holds one kind, these are {', '.join(kinds)}; "
            "write each to a file of its own"
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
    """Rotations that act on z, y, x, from matrices on x, y, z.

    Raises
    ------
    PointsFileError
        If one is no rotation: not orthogonal, or a reflection.

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
            f"{path}, point {int(np.argmin(is_rotation)) + 1}: its matrix is no rotation; its rows must be of length "
            "1, at right angles and right-handed"
        )
    return x_first(Rotation.from_matrix(matrices))


def _read_lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    rows = []
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise PointsFileError(f"{path}, line {number}: not a JSON object, as every line must be")
                rows.append((number, row))
    except UnicodeDecodeError as error:
        raise PointsFileError(f"{path}: not a text file of JSON lines") from error
    except json.JSONDecodeError as error:
        raise PointsFileError(f"{path}, line {len(rows) + 1}: not JSON, or cut off ({error.msg})") from error
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
