"""Reading lines from tables of points: the filaments of a run, or true ones."""

import csv
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cryosam.errors import InputNotFoundError, PointsFileError
from cryosam.io.text_files import read_text

__all__ = ["read_lines"]

_NUMBERS = ("filament", "instance")  # columns that tell which line a point is on
_NAMES = ("name", "kind")


def read_lines(path: Path, name: str | None = None) -> list[Float[np.ndarray, "_ 3"]]:
    r"""Read lines from a table with the columns ``z``, ``y``, ``x`` and ``filament`` or ``instance``.

    Parameters
    ----------
    path
        A ``.csv`` file; the points of a line are in order.
    name
        Read only the lines with this value in the column ``name`` or ``kind``.

    Returns
    -------
    lines
        ``(n, 3)`` z, y, x in voxels for each line, in the order in which the lines begin in the file.

    Raises
    ------
    InputNotFoundError, PointsFileError
        If there is no such file, column, number or name.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "filaments.csv").write_text("filament,z,y,x\n1,0,0,1\n2,5,5,5\n1,0,0,2\n")
    ...     [len(line) for line in read_lines(Path(folder, "filaments.csv"))]
    [2, 1]
    """
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such file; check the path")
    rows = csv.DictReader(read_text(path).splitlines())
    columns = rows.fieldnames or []
    number = next((column for column in _NUMBERS if column in columns), None)
    if number is None or not {"z", "y", "x"} <= set(columns):
        raise PointsFileError(
            f"{path}: lines need the columns filament (or instance), z, y and x, this file has {', '.join(columns)}"
        )
    naming = next((column for column in _NAMES if column in columns), None)
    if name is not None and naming is None:
        raise PointsFileError(f"{path}: the lines have no names; leave out --name")
    lines: dict[tuple[str, str], list[list[float]]] = {}
    names = set()
    for count, row in enumerate(rows, start=2):
        own = row[naming] if naming else ""
        names.add(own)
        if name is not None and own != name:
            continue
        try:
            point = [float(row[axis]) for axis in "zyx"]
        except (TypeError, ValueError):
            raise PointsFileError(f"{path}, line {count}: z, y and x must be numbers, got {row}") from None
        lines.setdefault((own, row[number]), []).append(point)
    if name is not None and name not in names:
        raise PointsFileError(f"{path}: no line is named {name}; there are {', '.join(sorted(names))}")
    return [np.array(points, dtype=float) for points in lines.values()]
