"""Points as comma-separated values with a header: ``z,y,x`` in voxels, and what else is known."""

import csv
from pathlib import Path

import numpy as np

from cryosam.arrays import Scores
from cryosam.errors import PointsFileError
from cryosam.io.atomic import atomic_path
from cryosam.io.points import PointTable

__all__ = ["read_csv_points", "write_csv_points"]

_Row = tuple[int, list[str]]  # the line in the file, and its cells


def read_csv_points(path: Path) -> PointTable:
    """Read points; columns may stand in any order and case, and others are left alone.

    Columns ``z``, ``y`` and ``x`` are voxels, an integer is a voxel centre. ``score``, ``instance`` and ``name`` (or
    ``class``) are read where they are there; a column of scores or instances without an entry counts as absent.

    Raises
    ------
    PointsFileError
        Without a header, without one of the coordinates, or where a value is not a finite number; the message gives the
        line.
    """
    header, rows = _read_cells(path)
    columns = _columns(header, path)
    _require_lengths(rows, len(header), path)
    points = np.array([[_number(cells[columns[axis]], axis, path, line) for axis in "zyx"] for line, cells in rows])
    instances = _optional(rows, columns, "instance", path)
    if instances is not None and (instances % 1).any():
        line = rows[int(np.flatnonzero(instances % 1)[0])][0]
        raise PointsFileError(f"{path}: line {line}: an instance is a whole number")
    name = columns.get("name", columns.get("class"))
    return PointTable(
        points.reshape(-1, 3),
        _optional(rows, columns, "score", path),
        None if name is None else tuple(cells[name] for _, cells in rows),
        None if instances is None else instances.astype(np.int64),
    )


def write_csv_points(path: Path, table: PointTable) -> None:
    """Write ``z,y,x`` and those of ``score,instance,name`` that are known; every number comes back exactly.

    Raises
    ------
    OutputError
        If there is no space or no permission.
    """
    columns: dict[str, list[object]] = {axis: table.points[:, i].tolist() for i, axis in enumerate("zyx")}
    if table.scores is not None:
        columns["score"] = table.scores.tolist()
    if table.instances is not None:
        columns["instance"] = table.instances.tolist()
    if table.names is not None:
        columns["name"] = list(table.names)
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _read_cells(path: Path) -> tuple[list[str], list[_Row]]:
    """The header in lower case, and every line that is not empty."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets put a mark before the first letter
            lines = csv.reader(file, skipinitialspace=True)
            rows = [(lines.line_num, [c.strip() for c in row]) for row in lines if any(c.strip() for c in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise PointsFileError(f"{path}: not a text file of comma-separated values ({error})") from error
    if not rows:
        raise PointsFileError(f"{path}: the file is empty; its first line must name the columns, such as z,y,x")
    return [cell.lower() for cell in rows[0][1]], rows[1:]


def _columns(header: list[str], path: Path) -> dict[str, int]:
    """Where each column stands, by its name."""
    missing = [axis for axis in "zyx" if axis not in header]
    if missing and all(_is_number(cell) for cell in header):
        raise PointsFileError(
            f"{path}: the first line holds numbers, not the names of columns, so the order of the axes is not known; "
            "put a line such as z,y,x before it"
        )
    if missing:
        raise PointsFileError(
            f"{path}: no column {' or '.join(missing)}; the columns are {', '.join(header)}; "
            "z,y,x (voxels) are needed, separated by commas"
        )
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise PointsFileError(f"{path}: two columns are called {twice[0]}; rename or delete one")
    return {name: i for i, name in enumerate(header)}


def _require_lengths(rows: list[_Row], n_columns: int, path: Path) -> None:
    """Refuse lines with more or fewer cells: a decimal comma makes two cells of a number and shifts all that follow."""
    for line, cells in rows:
        if len(cells) < n_columns or any(cells[n_columns:]):
            raise PointsFileError(
                f"{path}: line {line}: {len(cells)} values for {n_columns} columns; decimals are written 1.5, not 1,5"
            )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(cell: str, column: str, path: Path, line: int) -> float:
    if not (_is_number(cell) and np.isfinite(float(cell))):
        raise PointsFileError(f"{path}: line {line}: {column} is {cell!r}, not a finite number")
    return float(cell)


def _optional(rows: list[_Row], columns: dict[str, int], column: str, path: Path) -> Scores | None:
    """The numbers of a column, or None if there is none, or nothing in it."""
    if column not in columns:
        return None
    cells = [(line, row[columns[column]]) for line, row in rows]
    if rows and not any(cell for _, cell in cells):
        return None
    return np.array([_number(cell, column, path, line) for line, cell in cells], dtype=float)
