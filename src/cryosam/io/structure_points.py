"""Points on the structures of earlier results: read from their folders, and written for many tomograms together."""

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from cryosam.errors import InputError
from cryosam.io.atomic import atomic_path
from cryosam.io.copick import write_copick
from cryosam.io.dynamo import write_dynamo
from cryosam.io.earlier_results import describe_result, name_tables
from cryosam.io.star import read_star
from cryosam.io.star_blocks import read_star_blocks
from cryosam.io.star_output import write_star
from cryosam.io.tomogram_points import TomogramPoints

__all__ = [
    "StructurePoints",
    "check_structure_exports",
    "merge_tables",
    "read_structure_points",
    "write_structure_points",
]

_EXPORTS: Mapping[str, tuple[str, ...]] = {
    "membrane": ("relion4", "warp"),
    "filament": ("relion4", "warp", "dynamo", "copick"),
}
"""Formats of other programs in which points on structures are written."""

_TUBE = "rlnHelicalTubeID"
_FOR_WARP = ["rlnHelicalTubeID", "rlnHelicalTrackLengthAngst", "rlnTomoManifoldIndex"]
_WRITTEN_ANYWAY = ("Coordinate", "rlnTomoName", "rlnTomoParticleName", "rlnAutopickFigureOfMerit", "rlnClassNumber")


def check_structure_exports(formats: Sequence[str], with_points: Collection[str]) -> None:
    """Refuse formats of other programs in which a run without particles has nothing to write.

    Parameters
    ----------
    formats
        Names as in `cryosam.io.exports.EXPORTS`.
    with_points
        The structures of which there will be points: those that have a spacing.

    Raises
    ------
    InputError
        If there are formats and no points, or nothing can be written in one of the formats.

    Examples
    --------
    >>> check_structure_exports(["warp", "imod"], ["membrane"])
    Traceback (most recent call last):
        ...
    cryosam.errors.InputError: imod has no points on membranes; of the formats to export, relion4, warp have
    """
    if formats and not with_points:
        raise InputError(
            "the formats to export hold particles, and points on filaments and membranes where a spacing says how far "
            "apart; give a spacing (--spacing ANGSTROM), or leave the formats out (--export)"
        )
    possible = [name for name in _EXPORTS["filament"] if any(name in _EXPORTS[each] for each in with_points)]
    if odd := [name for name in formats if name not in possible]:
        of = " or ".join(f"{each}s" for each in sorted(with_points))
        raise InputError(f"{odd[0]} has no points on {of}; of the formats to export, {', '.join(possible)} have")


@dataclass(frozen=True, eq=False)
class StructurePoints:
    """Points on the structures of one kind in one tomogram, as they are averaged.

    Parameters
    ----------
    kind, structure
        Name of the kind, and "membrane" or "filament".
    part
        The points with poses and scores.
    columns
        The columns of RELION 5 that only these points have, a row per point.
    """

    kind: str
    structure: str
    part: TomogramPoints
    columns: pd.DataFrame


def read_structure_points(folder: Path, run: Mapping[str, Any]) -> list[StructurePoints]:
    """Read the points that a run with a spacing wrote; a kind without points is left out.

    Parameters
    ----------
    folder
        Results of one tomogram.
    run
        The content of its ``run.json``.
    """
    found = []
    for kind, (structure, table) in name_tables(run).items():
        path = folder / f"{table}.star"
        if not path.is_file():
            continue
        part = describe_result(folder / "run.json")
        points = read_star(path, shape=part.shape, voxel_size_angstrom=part.voxel_size_angstrom)
        if not len(points):
            continue
        rows = read_star_blocks(path)["particles"]
        columns = rows[[c for c in rows if not any(word in str(c) for word in _WRITTEN_ANYWAY)]]
        if structure == "filament":  # the class is the kind, and the instance is the filament
            instances = rows[_TUBE].astype(float).astype(int).to_numpy()
            points = replace(points, names=(kind,) * len(points), instances=instances)
        part = replace(part, table=points, kinds=(kind,) if structure == "filament" else ())
        found.append(StructurePoints(kind, structure, part, columns))
    return found


def write_structure_points(
    folder: Path,
    points: Sequence[StructurePoints],
    formats: Sequence[str],
    tilt_series_pixel_size_angstrom: float | None = None,
) -> dict[str, str]:
    """Write the points of all tomograms: a file for each kind of structure, and one for each other program.

    Parameters
    ----------
    folder
        Where the files go.
    points
        Of all tomograms and kinds.
    formats
        As in `cryosam.io.exports.EXPORTS`; those that have no structures are left out.
    tilt_series_pixel_size_angstrom
        Needed for RELION 4.

    Returns
    -------
    files
        Names of the files, and what they are.

    Raises
    ------
    PointsFileError, VoxelSizeError, OutputError
        As `cryosam.io.star_output.write_star`.
    """
    files: dict[str, str] = {}
    kinds = dict.fromkeys((each.structure, each.kind) for each in points)
    for structure, kind in kinds:
        mine = [each for each in points if (each.structure, each.kind) == (structure, kind)]
        is_only = sum(other == structure for other, _ in kinds) == 1
        stem = f"{structure}s" if is_only else f"{structure}s-{kind}"
        parts = [each.part for each in mine]
        write_star(folder / f"{stem}.star", parts, columns={each.part.name: each.columns for each in mine})
        files[f"{stem}.star"] = f"points on all {structure}s of kind {kind} for RELION 5"
        for name in dict.fromkeys(formats):
            if name not in _EXPORTS[structure]:
                continue
            match name:
                case "relion4" | "warp":
                    write_star(
                        folder / f"{stem}-{name}.star",
                        parts,
                        program=name,
                        tilt_series_pixel_size_angstrom=tilt_series_pixel_size_angstrom,
                        columns={each.part.name: _columns(each, is_warp=name == "warp") for each in mine},
                    )
                    files[f"{stem}-{name}.star"] = (
                        f"the same points for {'Warp and M' if name == 'warp' else 'RELION 4'}"
                    )
                case "dynamo":
                    write_dynamo(folder / f"{stem}.tbl", parts, has_regions=True)
                    files[f"{stem}.tbl"] = "the same points for Dynamo; the filament is in column 21"
                case "copick":
                    write_copick(folder / f"{stem}-copick", parts, lies_at=folder / f"{stem}-copick")
                    files[f"{stem}-copick"] = "the same points for copick"
    return files


def merge_tables(folder: Path, runs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Write a table for each structure with the rows of all tomograms, which begin with tomogram and kind.

    Parameters
    ----------
    folder
        Where the results of each tomogram are, in a folder of its name, and where the tables go.
    runs
        The content of ``run.json`` of each tomogram, by its name.

    Returns
    -------
    files
        Names of the tables, and what they are.
    """
    sources: dict[str, list[tuple[str, str, Path]]] = {}
    for name, run in runs.items():
        for kind, (structure, table) in name_tables(run).items():
            sources.setdefault(structure, []).append((name, kind, folder / name / f"{table}.csv"))
    files = {}
    for structure, parts in sources.items():
        path = folder / f"{structure}s.csv"
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            for number, (name, kind, source) in enumerate(parts):
                with source.open(encoding="utf-8", newline="") as lines:
                    head, *rows = csv.reader(lines)
                writer = csv.writer(stream, lineterminator="\n")
                if number == 0:
                    writer.writerow(["tomogram", "kind", *head])
                writer.writerows([name, kind, *row] for row in rows)
        files[path.name] = f"the rows of {structure}s.csv of all tomograms"
    return files


def _columns(points: StructurePoints, *, is_warp: bool) -> pd.DataFrame:
    """The columns of a program; Warp takes the combined angles, which are written anyway."""
    return points.columns[[c for c in points.columns if c in _FOR_WARP]] if is_warp else points.columns
