"""Points as comma-separated values: one line of column names, then one line per point, in voxels counted from 0.

A motive list that cryoCAT wrote as CSV has columns x, y, z and ``shift_x``, ``shift_y``, ``shift_z``; the particle is
at their sum. ``tomo_id`` is the number of its tomogram.
"""

import csv
import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cryosam.arrays import Points, Scores
from cryosam.errors import PointsFileError
from cryosam.io.atomic import atomic_path
from cryosam.io.points import PointTable
from cryosam.io.text_files import read_text
from cryosam.io.tomogram_names import choose_tomogram

__all__ = ["is_list", "read_csv", "write_csv"]

_log = logging.getLogger(__name__)

_TOMOGRAM = "tomo_id"
_Lines = list[tuple[int, list[str]]]


def read_csv(path: Path, *, tomogram_name: str | None = None, axes: str | None = None) -> PointTable:
    r"""Read points from a CSV file.

    Parameters
    ----------
    path
        The first line names the columns: ``z``, ``y``, ``x`` and optionally ``score``, ``instance`` and ``name`` (or
        ``class``), in any order, in upper or lower case; and those of cryoCAT. Other columns are ignored. Coordinates
        are in voxels, counted from 0. A file with column names and no points gives an empty table.
    tomogram_name
        The tomogram whose points are read if the file has a column ``tomo_id``, see
        `cryosam.io.tomogram_names.choose_tomogram`.
    axes
        Order of the three numbers in each line of a list without column names, such as "xyz"; they are separated by
        commas, semicolons or white space.

    Raises
    ------
    PointsFileError
        If a coordinate has no column, a value is invalid in its column, or there are points of several tomograms and
        none is chosen; the message gives the line.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "picks.csv").write_text("Class,Z,Y,X\nribosome,10,20,30\n")
    ...     table = read_csv(Path(folder, "picks.csv"))
    >>> table.points, table.names
    (array([[10., 20., 30.]]), ('ribosome',))
    """
    columns, lines = _parse(path) if axes is None else _parse_list(path, axes)
    lines, name = _of_tomogram(path, lines, columns, tomogram_name)
    points = np.array([[_number(path, line, axis, row[columns[axis]]) for axis in "zyx"] for line, row in lines])
    instances = _optional(path, lines, columns, "instance")
    if instances is not None:
        broken = np.flatnonzero(instances % 1)
        if len(broken):
            raise PointsFileError(
                f"{path}, line {lines[broken[0]][0]}: instance is {instances[broken[0]]:g}, not a whole number"
            )
    kind = columns.get("name", columns.get("class"))
    return PointTable(
        points.reshape(-1, 3) + _shifts(path, lines, columns),
        _optional(path, lines, columns, "score"),
        None if kind is None else tuple(row[kind] for _, row in lines),
        None if instances is None else instances.astype(np.int64),
        tomogram_name=name,
    )


def is_list(path: Path) -> bool:
    r"""Whether a file begins with numbers, not with column names; then the order of the axes is needed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "picks.txt").write_text("30 20 10\n")
    ...     is_list(Path(folder, "picks.txt"))
    True
    """
    first = _first_values(path)
    return bool(first) and all(map(_is_number, first))


def write_csv(path: Path, table: PointTable) -> None:
    """Write points as ``z,y,x,score,instance``, and ``name`` if names are known.

    Parameters
    ----------
    path
        The file to create.
    table
        Coordinates are written with three decimals, scores with five; the cell of an unknown score or instance is
        empty.

    Raises
    ------
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_csv(Path(folder, "picks.csv"), PointTable(np.array([[1.0, 2.5, 3.0]]), names=("ribosome",)))
    ...     print(Path(folder, "picks.csv").read_text())
    z,y,x,score,instance,name
    1.000,2.500,3.000,,,ribosome
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["z", "y", "x", "score", "instance", *(["name"] if table.names is not None else [])])
        for i, point in enumerate(table.points):
            writer.writerow(
                [
                    *(f"{c:z.3f}" for c in point),
                    "" if table.scores is None else f"{table.scores[i]:z.5f}",
                    "" if table.instances is None else int(table.instances[i]),
                    *([table.names[i]] if table.names is not None else []),
                ]
            )


def _parse(path: Path) -> tuple[dict[str, int], _Lines]:
    """Return the index of each column by name, and the rows with their line numbers."""
    try:
        reader = csv.reader(io.StringIO(read_text(path), newline=""), skipinitialspace=True)
        rows = [(reader.line_num, [c.strip() for c in row]) for row in reader if any(c.strip() for c in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise PointsFileError(f"{path}: not a text file of comma-separated values ({error})") from error
    if not rows:
        raise PointsFileError(f"{path}: the file is empty; its first line must name the columns, such as z,y,x")
    if is_list(path):
        numbers = " ".join(_first_values(path))
        raise PointsFileError(
            f"{path}: the first line has numbers, {numbers}, not column names, so the order of the axes is unknown; "
            "give it, such as --axes xyz, or add a first line such as z,y,x"
        )
    (_, header), *lines = rows
    columns = _columns(path, [name.lower() for name in header])
    for line, row in lines:
        # a decimal comma splits one number into two cells and shifts all later columns
        if len(row) != len(header):
            raise PointsFileError(
                f"{path}, line {line}: {len(row)} values for {len(header)} columns; decimals are written 1.5, not 1,5"
            )
    return columns, lines


def _parse_list(path: Path, axes: str) -> tuple[dict[str, int], _Lines]:
    """Return the index of each axis, and the rows of a list without column names."""
    if sorted(axes) != ["x", "y", "z"]:
        raise PointsFileError(f"{path}: the order of the axes must name x, y and z once, such as xyz, not {axes!r}")
    lines = list(_split_list(path))
    for line, row in lines:
        if not any(map(_is_number, row)):
            raise PointsFileError(f"{path}, line {line}: these are column names; leave out the order {axes} (--axes)")
        if len(row) != len(axes):
            raise PointsFileError(
                f"{path}, line {line}: {len(row)} values, but a list has three per line; decimals are written 1.5, not "
                "1,5; name the columns in a first line if there are more"
            )
    _log.info("%s: a list of %s in voxels counted from 0", path, ", ".join(axes))
    return {axis: i for i, axis in enumerate(axes)}, lines


def _first_values(path: Path) -> list[str]:
    """Return the values of the first line that is not a comment; empty if there is none."""
    return next((values for _, values in _split_list(path)), [])


def _split_list(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line of a list, without comments, and its values."""
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        raise PointsFileError(f"{path}: not a text file ({error})") from error
    for number, line in enumerate(text.splitlines(), 1):
        values = re.split(r"\s*[,;]\s*|\s+", line.strip())
        if any(values) and not values[0].startswith("#"):
            yield number, values


def _of_tomogram(
    path: Path, lines: _Lines, columns: dict[str, int], tomogram_name: str | None
) -> tuple[_Lines, str | None]:
    """Return the rows of one tomogram, and its name; all rows if there is no column of tomograms."""
    if _TOMOGRAM not in columns or not lines:
        return lines, None
    names = [row[columns[_TOMOGRAM]].removesuffix(".0") for _, row in lines]  # a number that pandas made a float
    chosen = choose_tomogram(path, list(dict.fromkeys(names)), tomogram_name)
    return [line for line, name in zip(lines, names, strict=True) if name == chosen], chosen


def _shifts(path: Path, lines: _Lines, columns: dict[str, int]) -> Points:
    """Return the shifts z, y, x of cryoCAT, which are added; zero if there are none."""
    shifts = np.zeros((len(lines), 3))
    for axis, name in enumerate("zyx"):
        values = _optional(path, lines, columns, f"shift_{name}")
        if values is not None:
            shifts[:, axis] = values
    if shifts.any():
        _log.info("%s: shift_x, shift_y and shift_z were added to x, y and z, as in cryoCAT", path)
    return shifts


def _columns(path: Path, header: list[str]) -> dict[str, int]:
    missing = [axis for axis in "zyx" if axis not in header]
    if missing:
        raise PointsFileError(
            f"{path}: no column {' or '.join(missing)}; the columns are {', '.join(header)}; "
            f"z, y and x (voxels) are needed, separated by commas"
        )
    duplicates = sorted({name for name in header if name and header.count(name) > 1})
    if duplicates:
        raise PointsFileError(f"{path}: two columns are named {duplicates[0]}; use each name once")
    return {name: i for i, name in enumerate(header)}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(path: Path, line: int, column: str, text: str) -> float:
    if not _is_number(text) or not np.isfinite(float(text)):
        raise PointsFileError(f"{path}, line {line}: {column} is {text!r}, not a number")
    return float(text)


def _optional(path: Path, lines: _Lines, columns: dict[str, int], column: str) -> Scores | None:
    """Return the numbers of a column, or None if the column is missing or empty."""
    if column not in columns:
        return None
    cells = [row[columns[column]] for _, row in lines]
    if cells and not any(cells):
        return None
    return np.array([_number(path, line, column, c) for (line, _), c in zip(lines, cells, strict=True)], dtype=float)
