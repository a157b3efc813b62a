"""Points of one tomogram, with the name, shape and voxel size that points formats need."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from cryosam.errors import PointsFileError, VoxelSizeError
from cryosam.io.points import PointTable
from cryosam.io.tomogram_names import tomogram_stem

__all__ = ["TomogramPoints", "check_distinct", "fill_rows", "number_kinds"]

_UNNAMED = "particle"


@dataclass(frozen=True, eq=False, kw_only=True)
class TomogramPoints:
    """Points of a tomogram, with its name, shape and voxel size.

    Parameters
    ----------
    table
        Points in voxels of the tomogram.
    name
        Name of the tomogram.
    shape
        Shape of the tomogram, z, y, x in voxels; None if unknown.
    voxel_size_angstrom
        Voxel size of the tomogram; None if unknown.
    kinds
        Kinds that were searched for, found or not, in order; may be left out. If there is only one, points without
        names belong to it.

    Examples
    --------
    >>> part = TomogramPoints(table=PointTable(np.ones((2, 3))), name="TS_01")
    >>> part.need_voxel_size("picks.json", "copick")
    Traceback (most recent call last):
    ...
    cryosam.errors.VoxelSizeError: picks.json: copick needs the voxel size of TS_01, which is unknown; give it
    """

    table: PointTable
    name: str = "tomogram"
    shape: tuple[int, int, int] | None = None
    voxel_size_angstrom: float | None = None
    kinds: tuple[str, ...] = ()

    def need_voxel_size(self, path: object, format_name: str) -> float:
        """Return the voxel size in angstrom.

        Raises
        ------
        VoxelSizeError
            If it is unknown; the message names the file and the format that need it.
        """
        if self.voxel_size_angstrom is None:
            raise VoxelSizeError(
                f"{path}: {format_name} needs the voxel size of {self.name}, which is unknown; give it"
            )
        return self.voxel_size_angstrom

    def need_shape(self, path: object, format_name: str) -> tuple[int, int, int]:
        """Return the number of voxels along z, y, x.

        Raises
        ------
        PointsFileError
            If they are unknown.
        """
        if self.shape is None:
            raise PointsFileError(f"{path}: {format_name} needs the shape of tomogram {self.name}; give it")
        return self.shape

    def by_kind(self) -> dict[str, PointTable]:
        """Return the points of each kind: first the kinds that were searched for, then others by first appearance.

        Points without a name belong to the only kind that was searched for, or to "particle".
        """
        names = self.table.names
        if names is None:
            return {self.kinds[0] if len(self.kinds) == 1 else _UNNAMED: self.table}
        of_point = np.asarray(names)
        return {
            name: self.table.take(np.flatnonzero(of_point == name)) for name in dict.fromkeys((*self.kinds, *names))
        }


def check_distinct(path: object, parts: Sequence[TomogramPoints]) -> None:
    """Check that all tomograms have different names, which identify them in a file of several.

    Raises
    ------
    PointsFileError
        If two names are the same apart from folder and extension, or there is no tomogram.

    Examples
    --------
    >>> part = TomogramPoints(table=PointTable(np.ones((1, 3))), name="TS_01")
    >>> check_distinct("p.star", [part, part])
    Traceback (most recent call last):
    ...
    cryosam.errors.PointsFileError: p.star: two tomograms are named TS_01; rename one, to distinguish their points
    """
    stems = [tomogram_stem(part.name) for part in parts]
    if not stems:
        raise PointsFileError(f"{path}: there are no tomograms to write")
    duplicate = next((stem for stem in stems if stems.count(stem) > 1), None)
    if duplicate is not None:
        raise PointsFileError(f"{path}: two tomograms are named {duplicate}; rename one, to distinguish their points")


def number_kinds(parts: Sequence[TomogramPoints]) -> dict[str, int]:
    """Assign a number to each kind, for formats that cannot store names.

    Returns
    -------
    numbers
        Numbers from 1: first the kinds that were searched for in their order, then others by first appearance. If
        it is unknown what was searched for, and all names are positive whole numbers, these numbers are used.

    Examples
    --------
    >>> table = PointTable(np.zeros((3, 3)), names=("ring", "7", "ring"))
    >>> number_kinds([TomogramPoints(table=table)])
    {'ring': 1, '7': 2}
    """
    searched_for = [kind for part in parts for kind in part.kinds]
    names = list(dict.fromkeys([*searched_for, *(kind for part in parts for kind in part.by_kind())]))
    if not searched_for and all(re.fullmatch(r"[1-9][0-9]{0,8}", name) for name in names):
        return {name: int(name) for name in names}
    return {name: rank for rank, name in enumerate(names, 1)}


def fill_rows(
    rows: Float[np.ndarray, "n c"],
    parts: Sequence[TomogramPoints],
    *,
    positions: Sequence[int],
    tomogram: int,
    score: int,
    kind: int,
) -> Iterator[tuple[TomogramPoints, Float[np.ndarray, "m c"]]]:
    """Fill the columns that the tables of Dynamo and of the TOM toolbox share, and give each tomogram with its rows.

    Parameters
    ----------
    rows
        ``(n, c)``, one per point; they are written to.
    parts
        Tomograms, numbered from 1.
    positions
        Columns of x, y, z, counted from 1 as in MATLAB.
    tomogram, score, kind
        Columns of the tomogram's number, the score and the kind's number, see `number_kinds`.

    Examples
    --------
    >>> rows, part = np.zeros((1, 6)), TomogramPoints(table=PointTable(np.array([[1.0, 2.0, 3.0]])))
    >>> _ = list(fill_rows(rows, [part], positions=[0, 1, 2], tomogram=3, score=4, kind=5))
    >>> rows
    array([[4., 3., 2., 1., 0., 0.]])
    """
    numbers, start = number_kinds(parts), 0
    for number, part in enumerate(parts, 1):
        table = part.table
        mine = rows[start : start + len(table)]
        start += len(table)
        mine[:, positions] = table.points[:, ::-1] + 1
        mine[:, tomogram] = number
        if table.scores is not None:
            mine[:, score] = table.scores
        if table.names is not None:
            mine[:, kind] = [numbers[name] for name in table.names]
        yield part, mine
