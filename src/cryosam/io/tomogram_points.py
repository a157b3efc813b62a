"""The points of one tomogram among many, with what it takes to say in any format where they are."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cryosam.errors import PointsFileError, VoxelSizeError
from cryosam.io.points import PointTable
from cryosam.io.tomogram_names import tomogram_stem

__all__ = ["TomogramPoints", "check_distinct", "number_kinds"]

_UNNAMED = "particle"


@dataclass(frozen=True, eq=False, kw_only=True)
class TomogramPoints:
    """Points of a tomogram that has a name, a shape and a voxel size.

    Parameters
    ----------
    table
        In voxels of the tomogram.
    name
        Of the tomogram.
    shape
        Of the tomogram, z, y, x in voxels; None where it is not known.
    voxel_size_angstrom
        Of the tomogram; None where it is not known.
    kinds
        What was looked for, found or not, in order; may be left out. If it is one, points without names are of it.

    Examples
    --------
    >>> part = TomogramPoints(table=PointTable(np.ones((2, 3))), name="TS_01")
    >>> part.need_voxel_size("picks.json", "copick")
    Traceback (most recent call last):
    ...
    cryosam.errors.VoxelSizeError: picks.json: copick needs the voxel size of TS_01, which is not known; give it
    """

    table: PointTable
    name: str = "tomogram"
    shape: tuple[int, int, int] | None = None
    voxel_size_angstrom: float | None = None
    kinds: tuple[str, ...] = ()

    def need_voxel_size(self, path: object, format_name: str) -> float:
        """The voxel size in angstrom.

        Raises
        ------
        VoxelSizeError
            If it is not known; the message names the file and the format that need it.
        """
        if self.voxel_size_angstrom is None:
            raise VoxelSizeError(
                f"{path}: {format_name} needs the voxel size of {self.name}, which is not known; give it"
            )
        return self.voxel_size_angstrom

    def need_shape(self, path: object, format_name: str) -> tuple[int, int, int]:
        """Voxels along z, y, x.

        Raises
        ------
        PointsFileError
            If they are not known.
        """
        if self.shape is None:
            raise PointsFileError(f"{path}: {format_name} needs the shape of tomogram {self.name}; give it")
        return self.shape

    def by_kind(self) -> dict[str, PointTable]:
        """The points of each kind: the kinds that were looked for, then others in order of first appearance.

        Points without a name are of the only kind that was looked for, or of "particle".
        """
        names = self.table.names
        if names is None:
            return {self.kinds[0] if len(self.kinds) == 1 else _UNNAMED: self.table}
        of_point = np.asarray(names)
        return {
            name: self.table.take(np.flatnonzero(of_point == name)) for name in dict.fromkeys((*self.kinds, *names))
        }


def check_distinct(path: object, parts: Sequence[TomogramPoints]) -> None:
    """Make sure that each tomogram has a name of its own, by which a file of several tells them apart.

    Raises
    ------
    PointsFileError
        If two names are the same but for folder and ending, or there is no tomogram at all.

    Examples
    --------
    >>> part = TomogramPoints(table=PointTable(np.ones((1, 3))), name="TS_01")
    >>> check_distinct("p.star", [part, part])
    Traceback (most recent call last):
    ...
    cryosam.errors.PointsFileError: p.star: two tomograms are named TS_01, so that their points could not be told apart
    """
    stems = [tomogram_stem(part.name) for part in parts]
    if not stems:
        raise PointsFileError(f"{path}: no tomogram to write the points of")
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise PointsFileError(f"{path}: two tomograms are named {twice}, so that their points could not be told apart")


def number_kinds(parts: Sequence[TomogramPoints]) -> dict[str, int]:
    """A number for each kind of several tomograms, for formats that have no names.

    Returns
    -------
    numbers
        Their rank, from 1: the kinds that were looked for in their order, then others by first appearance. Where
        nothing is known of what was looked for, and all names are positive whole numbers, those numbers.

    Examples
    --------
    >>> table = PointTable(np.zeros((3, 3)), names=("ring", "7", "ring"))
    >>> number_kinds([TomogramPoints(table=table)])
    {'ring': 1, '7': 2}
    """
    looked_for = [kind for part in parts for kind in part.kinds]
    names = list(dict.fromkeys([*looked_for, *(kind for part in parts for kind in part.by_kind())]))
    if not looked_for and all(re.fullmatch(r"[1-9][0-9]{0,8}", name) for name in names):
        return {name: int(name) for name in names}
    return {name: rank for rank, name in enumerate(names, 1)}
