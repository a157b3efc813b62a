"""Writing particles for other programs, in formats chosen by name, for one or several tomograms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from cryosam.arrays import Labels
from cryosam.errors import InputError, VoxelSizeError
from cryosam.io.copick import copick_name, copick_names, write_copick, write_copick_masks
from cryosam.io.dynamo import write_dynamo
from cryosam.io.em import write_em
from cryosam.io.imod import write_imod
from cryosam.io.ndjson import write_ndjson
from cryosam.io.tomogram_names import file_name
from cryosam.io.tomogram_points import TomogramPoints, check_distinct

__all__ = ["EXPORTS", "EXPORT_PATTERNS", "check_exports", "describe_exports", "write_exports"]

EXPORTS: Mapping[str, str] = {
    "relion4": "particles-relion4.star: RELION 3.1 and 4, pixels of the tilt series",
    "warp": "particles-warp.star: Warp and M, voxels",
    "dynamo": "particles.tbl: Dynamo; particles.doc names its tomograms",
    "em": "particles.em: motive list of TOM and AV3; particles.doc names its tomograms",
    "imod": "particles-TOMOGRAM.mod: IMOD model",
    "ndjson": "particles-TOMOGRAM-KIND.ndjson: CryoET Data Portal",
    "copick": "copick: project with picks, and masks if there are any",
}
"""Formats by name, and what is written; ``particles.star`` of RELION 5 is always written."""

EXPORT_PATTERNS = ("particles-*", "particles.tbl", "particles.doc", "particles.em", "copick")
"""File name patterns of `write_exports`, to delete outdated files of an earlier run."""

_NAME_KINDS = ("ndjson", "copick")
_NEED_VOXEL_SIZE = ("relion4", "warp", "copick")


def check_exports(
    formats: Sequence[str],
    voxel_size_angstrom: float | None,
    tilt_series_pixel_size_angstrom: float | None = None,
    kinds: Sequence[str] = (),
) -> None:
    """Check, before a long computation, that its result can be written in the given formats.

    Raises
    ------
    InputError
        If a format is unknown, or RELION 4 is requested without the pixel size of the tilt series.
    VoxelSizeError
        If a format needs the voxel size and it is unknown.
    PointsFileError
        If two kinds would have the same name in files.

    Examples
    --------
    >>> check_exports(["dynamo", "relion4"], 10.0, tilt_series_pixel_size_angstrom=2.5)
    >>> check_exports(["dynamo", "relion"], 10.0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    cryosam.errors.InputError: unknown format 'relion' to export; known are relion4, warp, ...
    """
    for name in formats:
        if name not in EXPORTS:
            raise InputError(f"unknown format {name!r} to export; known are {', '.join(EXPORTS)}")
        if name in _NEED_VOXEL_SIZE and voxel_size_angstrom is None:
            raise VoxelSizeError(f"{name} needs the voxel size, which is not in the file's header; give --voxel-size")
        if name == "relion4" and tilt_series_pixel_size_angstrom is None:
            raise InputError(
                "RELION 4 coordinates are in pixels of the tilt series, not of the tomogram; give their size in "
                "angstrom with --tilt-series-pixel-size"
            )
        if name in _NAME_KINDS:
            copick_names(kinds)


def describe_exports(formats: Sequence[str], part: TomogramPoints) -> dict[str, str]:
    """Return the names of the files that `write_exports` writes for one tomogram, and their content.

    Examples
    --------
    >>> import numpy as np
    >>> from cryosam.io.points import PointTable
    >>> describe_exports(["imod"], TomogramPoints(table=PointTable(np.ones((2, 3))), name="TS_01"))
    {'particles-TS_01.mod': 'IMOD model'}
    """
    described: dict[str, str] = {}
    for pattern, text in (EXPORTS[name].split(": ", 1) for name in formats):
        name = pattern.replace("TOMOGRAM", file_name(part.name))
        described |= {name.replace("KIND", copick_name(kind)): text for kind in part.by_kind()}
    return described


def write_exports(
    folder: Path,
    formats: Sequence[str],
    parts: Sequence[TomogramPoints],
    *,
    tilt_series_pixel_size_angstrom: float | None = None,
    labels: Callable[[TomogramPoints], Labels | None] | None = None,
    lies_at: Path | None = None,
) -> list[Path]:
    """Write the particles of one or several tomograms in the formats of other programs.

    Tables of RELION, Warp, Dynamo and EM have all tomograms in one file, and a copick project has all tomograms too.
    IMOD models and points of the data portal are written as one file per tomogram.

    Parameters
    ----------
    folder
        The output folder; it must exist.
    formats
        Names from `EXPORTS`.
    parts
        Points of each tomogram: `cryosam.io.results.points_of` returns those of a result, and
        `cryosam.io.earlier_results.read_result_points` those of a result folder.
    tilt_series_pixel_size_angstrom
        Needed for RELION 4.
    labels
        Called once for each tomogram whose masks are written; returns instance labels, or None if there are none.
    lies_at
        Final location of the folder, if it will be moved: the configuration of a copick project contains its own path.

    Returns
    -------
    written
        Paths of the files and folders.

    Raises
    ------
    InputError, VoxelSizeError
        As in `check_exports`, and if two tomograms have the same name.
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from cryosam.io.points import PointTable
    >>> part = TomogramPoints(table=PointTable(np.ones((2, 3))), name="TS_01", voxel_size_angstrom=10.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in write_exports(Path(folder), ["warp", "imod"], [part])]
    ['particles-warp.star', 'particles-TS_01.mod']
    """
    pixel_size = tilt_series_pixel_size_angstrom
    if formats:
        check_distinct(folder, parts)
    for part in parts:
        check_exports(formats, part.voxel_size_angstrom, pixel_size, list(part.by_kind()))
    written: list[Path] = []
    for name in dict.fromkeys(formats):
        match name:
            case "relion4" | "warp":
                written += [_write_star(folder, name, parts, pixel_size)]
            case "dynamo":
                write_dynamo(folder / "particles.tbl", parts)
                written += [folder / "particles.tbl", folder / "particles.doc"]
            case "em":
                write_em(folder / "particles.em", parts)
                written += [folder / "particles.em", folder / "particles.doc"]
            case "imod":
                written += [_write_model(folder, part) for part in parts]
            case "ndjson":
                written += [path for part in parts for path in _write_portal_files(folder, part)]
            case "copick":
                written += [_write_project(folder / "copick", parts, labels, (lies_at or folder) / "copick")]
    return list(dict.fromkeys(written))


def _write_star(
    folder: Path, name: Literal["relion4", "warp"], parts: Sequence[TomogramPoints], pixel_size: float | None
) -> Path:
    from cryosam.io.star_output import write_star  # pandas is slow to import

    path = folder / f"particles-{name}.star"
    write_star(path, parts, program=name, tilt_series_pixel_size_angstrom=pixel_size)
    return path


def _write_model(folder: Path, part: TomogramPoints) -> Path:
    path = folder / f"particles-{file_name(part.name)}.mod"
    write_imod(path, part)
    return path


def _write_portal_files(folder: Path, part: TomogramPoints) -> list[Path]:
    """Write one file per kind."""
    written = []
    for kind, table in part.by_kind().items():
        written.append(folder / f"particles-{file_name(part.name)}-{copick_name(kind)}.ndjson")
        write_ndjson(written[-1], replace(part, table=table))
    return written


def _write_project(
    project: Path,
    parts: Sequence[TomogramPoints],
    labels: Callable[[TomogramPoints], Labels | None] | None,
    lies_at: Path,
) -> Path:
    write_copick(project, parts, lies_at=lies_at)
    for part in parts:
        volume = None if labels is None else labels(part)
        if volume is not None:
            write_copick_masks(project, part, volume)
    return project
